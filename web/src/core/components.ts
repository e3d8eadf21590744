// Small components of a mask, section 6 of docs/contract.md. A run is an unbroken row of voxels with one label.

import type { Layout } from "./volume";

const MAXIMUM_RUNS = 500_000;
const NUMBERS = 4; // of a run: row, first column, column behind the last, label

/** The runs of a mask, slice by slice as they are labelled, in any order of slices. */
export class Components {
  private readonly slices: Int32Array[];
  private total = 0;

  constructor(private readonly layout: Layout) {
    this.slices = Array.from({ length: layout.shape[0] }, () => new Int32Array(0));
  }

  /** Take the labels of a slice, (rows, columns), and write them into a mask that is background there. */
  add(mask: Uint8Array, index: number, labels: Uint8Array): void {
    const runs = runsOf(labels, this.layout.shape[2]);
    for (let at = 0; at < runs.length; at += NUMBERS) fill(mask, this.layout, index, runs, at, runs[at + 3]!);
    this.total += runs.length / NUMBERS;
    if (this.total <= MAXIMUM_RUNS) this.slices[index] = runs;
  }

  /** Set components that are too small to background; return the slices that changed, in order.
   *
   * @param mask In the layout of the upright scan, with all slices. It stays as it is where it is too fragmented.
   * @param smallestShares For each label from 1, the share of its largest component that a component must have to stay.
   */
  removeSmall(mask: Uint8Array, smallestShares: number[]): number[] {
    if (this.total > MAXIMUM_RUNS || !smallestShares.some((share) => share > 0)) return [];
    const { runs, slice } = this.joined();
    const parent = connected(runs, slice, this.layout.shape[1]);
    const voxels = new Float64Array(slice.length);
    for (let run = 0; run < slice.length; run++) {
      voxels[root(parent, run)]! += runs[run * NUMBERS + 2]! - runs[run * NUMBERS + 1]!;
    }
    const largest = new Float64Array(smallestShares.length + 1);
    for (let run = 0; run < slice.length; run++) {
      const label = runs[run * NUMBERS + 3]!;
      largest[label] = Math.max(largest[label]!, voxels[run]!);
    }
    const changed = new Set<number>();
    for (let run = 0; run < slice.length; run++) {
      const label = runs[run * NUMBERS + 3]!;
      if (voxels[root(parent, run)]! >= smallestShares[label - 1]! * largest[label]!) continue;
      changed.add(slice[run]!);
      fill(mask, this.layout, slice[run]!, runs, run * NUMBERS, 0);
    }
    return [...changed];
  }

  /** Return all runs in the order of slice, row and column, and the slice of each. */
  private joined(): { runs: Int32Array; slice: Int32Array } {
    const runs = new Int32Array(this.total * NUMBERS);
    const slice = new Int32Array(this.total);
    let at = 0;
    this.slices.forEach((each, index) => {
      runs.set(each, at * NUMBERS);
      slice.fill(index, at, (at += each.length / NUMBERS));
    });
    return { runs, slice };
  }
}

/** Return the runs of a slice row by row; four pixels of background are passed over at once. */
function runsOf(labels: Uint8Array, columns: number): Int32Array {
  const fours = new Uint32Array(labels.buffer, labels.byteOffset, Math.floor(labels.length / 4));
  const runs: number[] = [];
  let at = 0;
  while (at < labels.length) {
    const label = labels[at]!;
    if (label === 0) {
      at++;
      while (at % 4 === 0 && fours[at / 4] === 0) at += 4;
      continue;
    }
    const row = Math.floor(at / columns);
    const begin = at - row * columns;
    const end = (row + 1) * columns;
    while (at < end && labels[at] === label) at++;
    runs.push(row, begin, at - row * columns, label);
  }
  return Int32Array.from(runs);
}

/** Set the voxels of the run that stands at `at`. */
function fill(mask: Uint8Array, { offset, strides }: Layout, slice: number, runs: Int32Array, at: number, label: number): void {
  const step = strides[2];
  const row = offset + slice * strides[0] + runs[at]! * strides[1];
  const behind = runs[at + 2]!;
  for (let column = runs[at + 1]!, place = row + column * step; column < behind; column++, place += step) {
    mask[place] = label;
  }
}

/** Return for each run a run of the same component, on the way to its first one. */
function connected(runs: Int32Array, slice: Int32Array, rows: number): Int32Array {
  const parent = slice.map((_, run) => run);
  const lines = new Map<number, [number, number]>(); // slice and row -> the runs in it
  const apart = rows + 2; // so that the last row of a slice does not touch the first one of the next
  for (let run = 0; run < slice.length; run++) {
    const line = slice[run]! * apart + runs[run * NUMBERS]!;
    const found = lines.get(line);
    if (found) found[1] = run + 1;
    else lines.set(line, [run, run + 1]);
  }
  for (const [line, [begin, end]] of lines) {
    for (const on of [1, apart - 1, apart, apart + 1]) {
      const other = lines.get(line + on);
      if (other) joinTouching(runs, parent, begin, end, ...other);
    }
  }
  return parent;
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
    const first = runs[run * NUMBERS + 1]!;
    const last = runs[run * NUMBERS + 2]!;
    while (from < otherEnd && runs[from * NUMBERS + 2]! < first) from++;
    for (let other = from; other < otherEnd && runs[other * NUMBERS + 1]! <= last; other++) {
      if (runs[run * NUMBERS + 3] !== runs[other * NUMBERS + 3]) continue;
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
