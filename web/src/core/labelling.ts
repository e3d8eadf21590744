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
  const onLeft = new Float32Array(classes);
  const onRight = new Float32Array(classes);
  for (let row = 0; row < down.first.length; row++) {
    const top = down.first[row]! * size;
    const bottom = down.second[row]! * size;
    const below = down.weight[row]!;
    const begin = (grid.seen[0].begin + row) * grid.shape[1] + grid.seen[1].begin;
    let column = 0;
    while (column < columns) {
      const left = across.first[column]!;
      const right = across.second[column]!;
      let end = column + 1;
      while (end < columns && across.first[end] === left) end++; // the columns between the same two logits
      const winner = winners[top + left]!;
      if (winner === winners[top + right] && winner === winners[bottom + left] && winner === winners[bottom + right]) {
        if (winner) labels.fill(winner, begin + column, begin + end);
        column = end;
        continue;
      }
      for (const number of present) {
        const plane = number * pixels;
        onLeft[number] = between(logits[plane + top + left]!, logits[plane + bottom + left]!, below);
        onRight[number] = between(logits[plane + top + right]!, logits[plane + bottom + right]!, below);
      }
      for (; column < end; column++) {
        const beside = across.weight[column]!;
        let best = -Infinity;
        for (const number of present) {
          const value = between(onLeft[number]!, onRight[number]!, beside);
          if (value > best) {
            best = value;
            labels[begin + column] = number;
          }
        }
      }
    }
  }
  return labels;
}

/** Interpolate in the order and precision of the Python program, which goes between rows first: in float32. */
function between(first: number, second: number, weight: number): number {
  return Math.fround(first + Math.fround(Math.fround(second - first) * weight));
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
