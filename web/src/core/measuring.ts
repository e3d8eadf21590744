// How bright the structures of a finished mask are; see embedded_vit.predict.measuring.

import type { Contract } from "./manifest";
import { visitLabelled, type Volume } from "./volume";

const DIGITS = 6;

/** Mean and standard deviation of a structure's voxels in one channel, in its unit (HU for CT). */
export interface Brightness {
  mean: number;
  deviation: number;
}

/** Return structure -> channel -> brightness; null where the mask has no voxel of the structure. */
export function brightnessOf(
  { channels, slope, intercept }: Volume,
  mask: Uint8Array,
  counts: number[],
  contract: Contract,
): Record<string, Record<string, Brightness> | null> {
  const added = channels.map((channel) => {
    const sums = new Float64Array(256);
    const squares = new Float64Array(256);
    visitLabelled(mask, (at, label) => {
      const value = channel[at]! * slope + intercept;
      sums[label]! += value;
      squares[label]! += value * value;
    });
    return { sums, squares };
  });
  const of = (channel: number, label: number): Brightness => {
    const { sums, squares } = added[channel]!;
    const mean = sums[label]! / counts[label]!;
    const variance = Math.max(0, squares[label]! / counts[label]! - mean ** 2);
    return { mean: rounded(mean), deviation: rounded(Math.sqrt(variance)) };
  };
  const named = contract.labels.labels.map(({ name, id }) => {
    const found = contract.preprocessing.channels.map((channel, number) => [channel, of(number, id)] as const);
    return [name, counts[id] ? Object.fromEntries(found) : null] as const;
  });
  return Object.fromEntries(named);
}

function rounded(value: number): number {
  return Number(value.toPrecision(DIGITS));
}
