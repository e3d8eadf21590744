// How large the structures and regions of a mask are; see docs/contract.md.

import type { Contract } from "./manifest";
import { roundTo } from "./numbers";
import { determinant3, spacingOf, type Volume } from "./volume";

const DECIMALS = { ml: 3, mm2: 6, voxels: 0, pixels: 0 } as const; // that are kept of a size
const VOXEL_DIGITS = 9;

export interface Sizes {
  unit: keyof typeof DECIMALS;
  sizes: Record<string, number>; // of structures
  regions: Record<string, number>; // of each the sum of what its structures have
}

/** Return the sizes of structures and regions from how many voxels have each label. */
export function sizesOf(counts: ArrayLike<number>, labels: Contract["labels"], volume: Volume, isPicture: boolean): Sizes {
  const [unit, exact] = unitOf(volume, isPicture);
  const ofVoxel = Number(exact.toPrecision(VOXEL_DIGITS)); // so that its last bit decides no tie
  const rounded = (size: number) => roundTo(size, DECIMALS[unit]);
  const inOrder = labels.labels.map(({ id }) => rounded(counts[id]! * ofVoxel)); // ids are 1, 2, ...
  const sizes = Object.fromEntries(labels.labels.map(({ name }, place) => [name, inOrder[place]!]));
  const regions = (labels.regions ?? []).map(
    ({ name, members }) => [name, rounded(members.reduce((sum, id) => sum + inOrder[id - 1]!, 0))] as const,
  );
  return { unit, sizes, regions: Object.fromEntries(regions) };
}

/** Return the unit of sizes, and that of one voxel. */
function unitOf({ affine, spacingKnown }: Volume, isPicture: boolean): [Sizes["unit"], number] {
  if (isPicture) {
    const [, rows, columns] = spacingOf(affine);
    return spacingKnown ? ["mm2", rows * columns] : ["pixels", 1];
  }
  return spacingKnown ? ["ml", Math.abs(determinant3(affine)) / 1000] : ["voxels", 1];
}
