// How bright each channel of a scan is once normalised, against the training scans; as `embedded-vit predict`.

import type { Contract, Fingerprint, Range } from "./manifest";
import { evenlySpaced, quantileOfSorted } from "./numbers";
import { reducedSlice, type Grid } from "./preprocessing";
import type { Volume } from "./volume";

const QUANTILES = [0.1, 0.25, 0.5, 0.75, 0.9];
const SAMPLED_SLICES = 16;
const MOST_DEVIATIONS = 6;
const LEAST_DEVIATION = 0.04;
const MUCH_NEARER = 0.5;
const MOST_PERMUTED = 6;

/** Say what looks unlike the training scans though it violates nothing, one sentence each. */
export function doubts(upright: Volume, contract: Contract, ranges: Range[], grid: Grid): string[] {
  if (contract.intensities === null) return [];
  const found = upright.channels.map((_, channel) => brightness(upright, channel, ranges[channel]!, grid));
  return mismatches(contract.intensities, found, contract.preprocessing.channels);
}

/** Return quantiles of a channel where it is neither black nor padding; NaN where it is black. */
function brightness(upright: Volume, channel: number, range: Range, grid: Grid): number[] {
  const inside: number[] = [];
  for (const index of evenlySpaced(upright.shape[0], SAMPLED_SLICES)) {
    for (const value of reducedSlice(upright, channel, index, range, grid)) {
      const seen = Math.fround(Math.fround(2 * value) - 1);
      if (seen > -1) inside.push((seen + 1) / 2);
    }
  }
  if (!inside.length) return QUANTILES.map(() => NaN);
  const sorted = Float64Array.from(inside).sort();
  return QUANTILES.map((quantile) => quantileOfSorted(sorted, quantile));
}

function mismatches(fingerprint: Fingerprint, found: number[][], channels: string[]): string[] {
  const { mean } = fingerprint;
  if (mean.length !== found.length || mean.some((values) => values.length !== QUANTILES.length)) return [];
  const black = found.findIndex((values) => !values.every(Number.isFinite));
  if (black >= 0) return [`channel ${channels[black]} is black: it holds nothing but the darkest intensity`];
  const deviation = fingerprint.deviation.map((row) => row.map((value) => Math.max(value, LEAST_DEVIATION)));
  const apart = found.map((values) =>
    mean.map((expected, place) => {
      const squares = values.map((value, n) => ((value - expected[n]!) / deviation[place]![n]!) ** 2);
      return Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / squares.length);
    }),
  );
  const order = betterOrder(apart);
  if (order) {
    const came = channels.map((_, place) => channels[order.indexOf(place)]!);
    return [
      `the channels look as if they came as ${came.join(", ")} and not as ${channels.join(", ")}; check their order`,
    ];
  }
  const average = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return channels.flatMap((name, n) => {
    if (apart[n]![n]! <= MOST_DEVIATIONS) return [];
    const middle = Math.floor(QUANTILES.length / 2);
    const direction = average(found[n]!) > average(mean[n]!) ? "brighter" : "darker";
    return [
      `channel ${name} is ${direction} or of another contrast than in any training scan (median ` +
        `${found[n]![middle]!.toFixed(2)} of the range, ${mean[n]![middle]!.toFixed(2)} in training): check the ` +
        "sequence and the body part",
    ];
  });
}

/** Return the order in which the channels seem to have come, where it is not the one that was given. */
function betterOrder(apart: number[][]): number[] | null {
  const count = apart.length;
  if (count < 2 || count > MOST_PERMUTED) return null;
  const cost = (order: number[]) => order.reduce((sum, from, place) => sum + apart[from]![place]!, 0);
  const given = apart.map((_, place) => place);
  let best = given;
  for (const order of permutations(given)) if (cost(order) < cost(best)) best = order;
  const isGiven = best.every((from, place) => from === place);
  return !isGiven && cost(best) < MUCH_NEARER * cost(given) && cost(given) > count ? best : null;
}

function permutations(items: number[]): number[][] {
  if (items.length < 2) return [items];
  return items.flatMap((item, place) =>
    permutations(items.filter((_, other) => other !== place)).map((rest) => [item, ...rest]),
  );
}
