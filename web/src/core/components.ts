// Small components of a mask, section 6 of docs/contract.md. A run is an unbroken row of voxels with one label.

import type { Layout } from "./volume";

const MAXIMUM_RUNS = 500_000;
const NUMBERS = 5; // of a run: slice, row, first column, column behind the last, label

/** Set components that are too small to background; return the slices that changed, in order.
 *
 * @param mask In the layout of the upright scan.
 * @param smallestShares For each label from 1, the share of its largest component that a component must have to stay.
 */
export function removeSmallComponents(mask: Uint8Array, layout: Layout, smallestShares: number[]): number[] {
  if (!smallestShares.some((share) => share > 0)) return [];
  const runs = runsOf(mask, layout);
  if (runs === null) return [];
  const count = runs.length / NUMBERS;
  const parent = connected(runs, layout.shape[1]);
  const voxels = new Float64Array(count);
  for (let run = 0; run < count; run++) {
    voxels[root(parent, run)]! += runs[run * NUMBERS + 3]! - runs[run * NUMBERS + 2]!;
  }
  const largest = new Float64Array(smallestShares.length + 1);
  for (let run = 0; run < count; run++) {
    const label = runs[run * NUMBERS + 4]!;
    largest[label] = Math.max(largest[label]!, voxels[run]!);
  }
  const changed = new Set<number>();
  for (let run = 0; run < count; run++) {
    const [slice, row, begin, end, label] = runs.subarray(run * NUMBERS, (run + 1) * NUMBERS) as unknown as number[];
    if (voxels[root(parent, run)]! >= smallestShares[label! - 1]! * largest[label!]!) continue;
    changed.add(slice!);
    const at = layout.offset + slice! * layout.strides[0] + row! * layout.strides[1];
    for (let column = begin!; column < end!; column++) mask[at + column * layout.strides[2]] = 0;
  }
  return [...changed].sort((one, other) => one - other);
}

/** Return all runs in the order of slice, row and column; null where the mask is too fragmented to be searched. */
function runsOf(mask: Uint8Array, layout: Layout): Int32Array | null {
  const [slices, rows, columns] = layout.shape;
  const step = layout.strides[2];
  const runs: number[] = [];
  for (let slice = 0; slice < slices; slice++) {
    for (let row = 0; row < rows; row++) {
      let at = layout.offset + slice * layout.strides[0] + row * layout.strides[1];
      let label = 0;
      for (let column = 0; column < columns; column++, at += step) {
        const here = mask[at]!;
        if (here === label) continue;
        if (label) runs[runs.length - 2] = column;
        if (here) runs.push(slice, row, column, columns, here);
        label = here;
      }
    }
    if (runs.length > MAXIMUM_RUNS * NUMBERS) return null;
  }
  return Int32Array.from(runs);
}

/** Return for each run a run of the same component, on the way to its first one. */
function connected(runs: Int32Array, rows: number): Int32Array {
  const count = runs.length / NUMBERS;
  const parent = Int32Array.from({ length: count }, (_, run) => run);
  const lines = new Map<number, [number, number]>(); // slice and row -> the runs in it
  for (let run = 0; run < count; run++) {
    const line = lineOf(runs, run, rows);
    const found = lines.get(line);
    if (found) found[1] = run + 1;
    else lines.set(line, [run, run + 1]);
  }
  const apart = rows + 2;
  for (const [line, [begin, end]] of lines) {
    for (const on of [1, apart - 1, apart, apart + 1]) {
      const other = lines.get(line + on);
      if (other) joinTouching(runs, parent, begin, end, ...other);
    }
  }
  return parent;
}

/** Number the lines so that the last row of a slice does not touch the first one of the next. */
function lineOf(runs: Int32Array, run: number, rows: number): number {
  return runs[run * NUMBERS]! * (rows + 2) + runs[run * NUMBERS + 1]!;
}

/** Join runs of one label of two lines that touch, by a corner too. */
function joinTouching(
  runs: Int32Array,
  parent: Int32Array,
  begin: number,
  end: number,
  otherBegin: number,
  otherEnd: number,
): void {
  let from = otherBegin;
  for (let run = begin; run < end; run++) {
    const first = runs[run * NUMBERS + 2]!;
    const last = runs[run * NUMBERS + 3]!;
    while (from < otherEnd && runs[from * NUMBERS + 3]! < first) from++;
    for (let other = from; other < otherEnd && runs[other * NUMBERS + 2]! <= last; other++) {
      if (runs[run * NUMBERS + 4] !== runs[other * NUMBERS + 4]) continue;
      const one = root(parent, run);
      const two = root(parent, other);
      parent[Math.max(one, two)] = Math.min(one, two);
    }
  }
}

function root(parent: Int32Array, run: number): number {
  let at = run;
  while (parent[at] !== at) {
    parent[at] = parent[parent[at]!]!;
    at = parent[at]!;
  }
  return at;
}
