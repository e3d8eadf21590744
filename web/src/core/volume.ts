// A scan as an array with an affine, and its axes turned to the orientation that a network sees; views, never copies.
//
// The affine maps an array index to millimetres in RAS+: x grows to the patient's right, y to anterior, z to superior.

import { FileFormatError } from "./errors";
import { asFloat, general } from "./numbers";

export type Voxels =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;
export type Triple = [number, number, number];
export type Affine = number[][]; // 4 x 4

/** Where the elements of three axes lie in flat memory. */
export interface Layout {
  shape: Triple;
  strides: Triple;
  offset: number;
}

export interface Volume extends Layout {
  channels: Voxels[];
  affine: Affine;
  slope: number;
  intercept: number;
  spacingKnown: boolean;
  source: string;
}

const MOST_FIELD_MM = 5000;
const MOST_SPACING_RATIO = 250;
const MOST_OFFSET_MM = 100_000;
const TILE = 32; // pixels

/** Return the layout of an array whose first axis is the fastest, as NIfTI stores it. */
export function firstAxisFastest(shape: Triple): Layout {
  return { shape, strides: [1, shape[0], shape[0] * shape[1]], offset: 0 };
}

/** Return the distance in mm between neighbouring voxels along each array axis. */
export function spacingOf(affine: Affine): Triple {
  return [0, 1, 2].map((axis) => Math.hypot(affine[0]![axis]!, affine[1]![axis]!, affine[2]![axis]!)) as Triple;
}

export function determinant3(matrix: Affine): number {
  const [a, b, c] = matrix as [number[], number[], number[]];
  return (
    a[0]! * (b[1]! * c[2]! - b[2]! * c[1]!) -
    a[1]! * (b[0]! * c[2]! - b[2]! * c[0]!) +
    a[2]! * (b[0]! * c[1]! - b[1]! * c[0]!)
  );
}

/** Refuse an affine that puts no voxel anywhere, or voxels where no scanner does. */
export function checkAffine(affine: Affine, source: string, shape: readonly number[]): void {
  if (!affine.flat().every(Number.isFinite)) {
    throw new FileFormatError(`${source}: the affine is not a finite 4 x 4 matrix; repair the header`);
  }
  const spacing = spacingOf(affine);
  if (Math.min(...spacing) <= 0) {
    throw new FileFormatError(`${source}: voxel spacing (${spacing.map(asFloat).join(", ")}) mm has a zero; repair the header`);
  }
  const unit = affine.slice(0, 3).map((row) => row.slice(0, 3).map((value, axis) => value / spacing[axis]!));
  if (Math.abs(determinant3(unit)) < 1e-3) {
    throw new FileFormatError(
      `${source}: the affine is singular (two array axes are parallel); repair the header`,
    );
  }
  const field = Math.max(0, ...shape.slice(0, 3).map((length, axis) => length * spacing[axis]!));
  if (Math.max(...spacing) > MOST_SPACING_RATIO * Math.min(...spacing) || field > MOST_FIELD_MM) {
    const numbers = spacing.map((length) => general(length, 3)).join(" x ");
    throw new FileFormatError(
      `${source}: voxels of ${numbers} mm over ${general(field, 3)} mm: no scanner makes them (at most ` +
        `${MOST_FIELD_MM / 1000} m, spacings within a factor of ${MOST_SPACING_RATIO}); repair the header`,
    );
  }
  const away = Math.max(...affine.slice(0, 3).map((row) => Math.abs(row[3]!)));
  if (away > MOST_OFFSET_MM) {
    throw new FileFormatError(`${source}: the first voxel lies ${general(away, 3)} mm away; repair the header`);
  }
}

/** Return for each array axis the world axis that it is nearest to and its direction, as nibabel's io_orientation. */
function nearestAxes(affine: Affine): { axis: number; sign: number }[] {
  const spacing = spacingOf(affine);
  const rotation = nearestRotation(
    [0, 1, 2].map((row) => [0, 1, 2].map((axis) => affine[row]![axis]! / (spacing[axis]! || 1))),
  );
  const column = (axis: number) => rotation.map((row) => row[axis]!);
  const largest = [0, 1, 2].map((axis) => Math.max(...column(axis).map((value) => value * value)));
  const order = [0, 1, 2].sort((one, other) => largest[other]! - largest[one]! || one - other);
  const found: { axis: number; sign: number }[] = [];
  for (const axis of order) {
    const sizes = column(axis).map(Math.abs);
    const row = sizes.indexOf(Math.max(...sizes));
    found[axis] = { axis: row, sign: rotation[row]![axis]! < 0 ? -1 : 1 };
    rotation[row] = [0, 0, 0];
  }
  return found;
}

/** Return the orthogonal factor of the polar decomposition of a 3 x 3 matrix, by Newton's iteration (Higham 1986). */
function nearestRotation(matrix: number[][]): number[][] {
  let current = matrix;
  for (let round = 0; round < 100; round++) {
    const inverse = inverse3(current);
    const next = current.map((row, i) => row.map((value, j) => 0.5 * (value + inverse[j]![i]!)));
    const change = Math.max(...next.flat().map((value, place) => Math.abs(value - current.flat()[place]!)));
    current = next;
    if (change < 1e-14) break;
  }
  return current;
}

export function inverse3(matrix: number[][]): number[][] {
  const [a, b, c] = matrix as [number[], number[], number[]];
  const scale = 1 / determinant3(matrix);
  const minor = (p: number[], q: number[], i: number, j: number) => (p[i]! * q[j]! - p[j]! * q[i]!) * scale;
  return [
    [minor(b, c, 1, 2), minor(c, a, 1, 2), minor(a, b, 1, 2)],
    [minor(b, c, 2, 0), minor(c, a, 2, 0), minor(a, b, 2, 0)],
    [minor(b, c, 0, 1), minor(c, a, 0, 1), minor(a, b, 0, 1)],
  ];
}

const LETTERS: Record<string, [number, number]> = {
  R: [0, 1],
  L: [0, -1],
  A: [1, 1],
  P: [1, -1],
  S: [2, 1],
  I: [2, -1],
};

/** Return a layout and an affine with the axes permuted and flipped to `codes`, for example "SLP". */
export function reoriented<T extends Layout & { affine: Affine }>(on: T, codes: string): T {
  const nearest = nearestAxes(on.affine);
  const shape: Triple = [0, 0, 0];
  const strides: Triple = [0, 0, 0];
  let offset = on.offset;
  const affine = on.affine.map((row) => [...row]);
  [...codes].forEach((code, place) => {
    const [world, direction] = LETTERS[code]!;
    const axis = nearest.findIndex((found) => found.axis === world);
    const flip = nearest[axis]!.sign * direction;
    const last = on.shape[axis]! - 1;
    shape[place] = on.shape[axis]!;
    strides[place] = on.strides[axis]! * flip;
    if (flip < 0) offset += on.strides[axis]! * last;
    for (let row = 0; row < 3; row++) {
      affine[row]![place] = on.affine[row]![axis]! * flip;
      if (flip < 0) affine[row]![3]! += on.affine[row]![axis]! * last;
    }
  });
  return { ...on, shape, strides, offset, affine };
}

/** What becomes of every number that an array can hold. */
export interface Table {
  becomes: Float32Array;
  zero: number; // the place of the number 0
}

/** Return the numbers of a type of two bytes or one, in order, to be changed; null for wider types. */
export function allNumbers(voxels: Voxels): Table | null {
  if (voxels.BYTES_PER_ELEMENT > 2) return null;
  const count = 2 ** (8 * voxels.BYTES_PER_ELEMENT);
  const zero = voxels instanceof Int8Array || voxels instanceof Int16Array ? count / 2 : 0;
  return { becomes: Float32Array.from({ length: count }, (_, place) => place - zero), zero };
}

/** Copy one slice of stored numbers, or of what becomes of them, into `into`, row by row.
 *
 * In tiles, as columns may lie far apart in memory; without a function for each run, which takes twice the time.
 */
export function readSlice<T extends { [index: number]: number }>(
  voxels: Voxels,
  { shape: [, rows, columns], strides: [alongSlices, alongRows, alongColumns], offset }: Layout,
  index: number,
  into: T,
  table: Table | null = null,
): T {
  for (let left = 0; left < columns; left += TILE) {
    const right = Math.min(columns, left + TILE);
    for (let top = 0; top < rows; top += TILE) {
      const bottom = Math.min(rows, top + TILE);
      for (let row = top; row < bottom; row++) {
        let at = offset + index * alongSlices + row * alongRows + left * alongColumns;
        const end = row * columns + right;
        if (table) {
          const { becomes, zero } = table;
          for (let to = row * columns + left; to < end; to++, at += alongColumns) into[to] = becomes[voxels[at]! + zero]!;
        } else for (let to = row * columns + left; to < end; to++, at += alongColumns) into[to] = voxels[at]!;
      }
    }
  }
  return into;
}

/** Visit the voxels of a mask that are not background; four of background are passed over at once. */
export function visitLabelled(mask: Uint8Array, visit: (at: number, label: number) => void): void {
  const fours = new Uint32Array(mask.buffer, mask.byteOffset, Math.floor(mask.length / 4));
  for (let four = 0; four < fours.length; four++) {
    if (fours[four] === 0) continue;
    for (let at = 4 * four; at < 4 * four + 4; at++) if (mask[at] !== 0) visit(at, mask[at]!);
  }
  for (let at = 4 * fours.length; at < mask.length; at++) if (mask[at] !== 0) visit(at, mask[at]!);
}
