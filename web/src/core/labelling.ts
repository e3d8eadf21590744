// From logits on the network's grid to labels on the slice's own grid, section 5 of docs/contract.md.

import { FileFormatError } from "./errors";
import type { Grid } from "./preprocessing";

/** Return the label of every pixel of a slice; the lower number wins a tie, outside the field of view is 0.
 *
 * A class that is largest at all four logits around a pixel is largest there, so only other pixels are interpolated.
 */
export function labelSlice(logits: Float32Array, classes: number, grid: Grid): Uint8Array {
  const pixels = grid.outputSize ** 2;
  const { winners, present } = winningClasses(logits, classes, pixels);
  const labels = new Uint8Array(grid.shape[0] * grid.shape[1]);
  const { enlargeRows: down, enlargeColumns: across } = grid;
  const size = grid.outputSize;
  const columns = across.first.length;
  for (let row = 0; row < down.first.length; row++) {
    const top = down.first[row]! * size;
    const bottom = down.second[row]! * size;
    const below = down.weight[row]!;
    const begin = (grid.seen[0].begin + row) * grid.shape[1] + grid.seen[1].begin;
    for (let column = 0; column < columns; column++) {
      const left = across.first[column]!;
      const right = across.second[column]!;
      const winner = winners[top + left]!;
      if (winner === winners[top + right] && winner === winners[bottom + left] && winner === winners[bottom + right]) {
        // So it is for all columns between the same two logits.
        let end = column + 1;
        while (end < columns && across.first[end] === left) end++;
        if (winner) labels.fill(winner, begin + column, begin + end);
        column = end - 1;
        continue;
      }
      const place = begin + column;
      const beside = across.weight[column]!;
      let best = -Infinity;
      for (const number of present) {
        const from = number * pixels;
        const value = interpolated(logits, from + top, from + bottom, left, right, below, beside);
        if (value > best) {
          best = value;
          labels[place] = number;
        }
      }
    }
  }
  return labels;
}

/** In the order and precision of the Python program: between rows first, in float32. */
function interpolated(
  logits: Float32Array,
  top: number,
  bottom: number,
  left: number,
  right: number,
  below: number,
  beside: number,
): number {
  const f = Math.fround;
  const topLeft = logits[top + left]!;
  const topRight = logits[top + right]!;
  const onLeft = f(topLeft + f(f(logits[bottom + left]! - topLeft) * below));
  const onRight = f(topRight + f(f(logits[bottom + right]! - topRight) * below));
  return f(f(f(onRight - onLeft) * beside) + onLeft);
}

/** Return the class of each logit pixel, and the classes that are above background anywhere, background first. */
function winningClasses(
  logits: Float32Array,
  classes: number,
  pixels: number,
): { winners: Uint8Array; present: number[] } {
  const winners = new Uint8Array(pixels);
  const best = logits.slice(0, pixels);
  const present = [0];
  for (let number = 1; number < classes; number++) {
    let above = false;
    for (let place = 0, from = number * pixels; place < pixels; place++, from++) {
      const value = logits[from]!;
      if (value > logits[place]!) above = true;
      if (value > best[place]!) {
        best[place] = value;
        winners[place] = number;
      }
    }
    if (above) present.push(number);
  }
  return { winners, present };
}

/** Refuse logits that are NaN or infinite: argmax would call them background, without a word. */
export function checkFinite(logits: Float32Array, source: string, title: string): void {
  let difference = 0; // of each value to itself: NaN where one is not finite
  for (let place = 0; place < logits.length; place++) difference += logits[place]! - logits[place]!;
  if (difference === 0) return;
  throw new FileFormatError(
    `${source}: the network answers NaN or infinity in ${title}: its weights are damaged, or too large for its ` +
      "precision; export it again",
  );
}
