// The header of a NIfTI file: what is read of it, what is checked, and where it puts voxels.

import { FileFormatError } from "./errors";
import { general } from "./numbers";
import { checkAffine, inverse3, type Affine, type Triple } from "./volume";

/** The fields of a header that say where a voxel lies, exactly as the file stores them. */
export interface Geometry {
  version: 1 | 2;
  dim: number[]; // 8
  pixdim: number[]; // 8
  xyztUnits: number;
  dimInfo: number;
  qformCode: number;
  sformCode: number;
  quatern: Triple;
  qoffset: Triple;
  srow: number[][]; // 3 x 4
}

export interface NiftiHeader extends Geometry {
  littleEndian: boolean;
  datatype: number;
  voxOffset: number;
  slope: number;
  intercept: number;
  magic: string;
  headerBytes: number;
}

/** A geometry with its affine, array index -> RAS+ mm. */
export interface Placed {
  geometry: Geometry;
  affine: Affine;
  shape: number[];
  remarks: string[];
}

export const HEADER_BYTES = { 1: 348, 2: 540 } as const;
export const ORIENTATION_WARNING =
  "the file does not say where the patient's left is (qform and sform codes are 0): check the sides";
const MM_PER_UNIT: Record<number, number> = { 1: 1000, 2: 1, 3: 0.001 };
const LONGEST_EXCESS = 1e-3;
const QUATERNION_ROUNDING = 1e-3;

/** Read a header from the first bytes of a file; errors as `embedded-vit predict`. */
export function parseHeader(start: Uint8Array, source: string): NiftiHeader {
  if (start.length < HEADER_BYTES[1]) {
    throw new FileFormatError(
      `${source}: truncated: ${start.length} bytes, less than a NIfTI header; copy the file again`,
    );
  }
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  for (const littleEndian of [true, false]) {
    const announced = view.getInt32(0, littleEndian);
    if (announced === HEADER_BYTES[1]) return checked(parse1(view, littleEndian), source);
    if (announced === HEADER_BYTES[2]) {
      if (start.length < HEADER_BYTES[2]) {
        throw new FileFormatError(`${source}: truncated within the NIfTI header; copy the file again`);
      }
      return checked(parse2(view, littleEndian), source);
    }
  }
  throw new FileFormatError(
    `${source}: not a NIfTI file (its first number is not a header size); give a .nii or .nii.gz`,
  );
}

function several<T>(count: number, read: (number: number) => T): T[] {
  return Array.from({ length: count }, (_, number) => read(number));
}

function parse1(view: DataView, littleEndian: boolean): NiftiHeader {
  const int16 = (at: number) => view.getInt16(at, littleEndian);
  const float = (at: number) => view.getFloat32(at, littleEndian);
  return {
    version: 1,
    littleEndian,
    dimInfo: view.getUint8(39),
    dim: several(8, (n) => int16(40 + 2 * n)),
    datatype: int16(70),
    pixdim: several(8, (n) => float(76 + 4 * n)),
    voxOffset: float(108),
    slope: float(112),
    intercept: float(116),
    xyztUnits: view.getUint8(123),
    qformCode: int16(252),
    sformCode: int16(254),
    quatern: several(3, (n) => float(256 + 4 * n)) as Triple,
    qoffset: several(3, (n) => float(268 + 4 * n)) as Triple,
    srow: several(3, (row) => several(4, (n) => float(280 + 16 * row + 4 * n))),
    magic: text(view, 344, 4),
    headerBytes: HEADER_BYTES[1],
  };
}

function parse2(view: DataView, littleEndian: boolean): NiftiHeader {
  const int32 = (at: number) => view.getInt32(at, littleEndian);
  const long = (at: number) => Number(view.getBigInt64(at, littleEndian));
  const double = (at: number) => view.getFloat64(at, littleEndian);
  return {
    version: 2,
    littleEndian,
    magic: text(view, 4, 4),
    datatype: view.getInt16(12, littleEndian),
    dim: several(8, (n) => long(16 + 8 * n)),
    pixdim: several(8, (n) => double(104 + 8 * n)),
    voxOffset: long(168),
    slope: double(176),
    intercept: double(184),
    qformCode: int32(344),
    sformCode: int32(348),
    quatern: several(3, (n) => double(352 + 8 * n)) as Triple,
    qoffset: several(3, (n) => double(376 + 8 * n)) as Triple,
    srow: several(3, (row) => several(4, (n) => double(400 + 32 * row + 8 * n))),
    xyztUnits: int32(500),
    dimInfo: view.getUint8(524),
    headerBytes: HEADER_BYTES[2],
  };
}

function text(view: DataView, at: number, length: number): string {
  return several(length, (n) => String.fromCharCode(view.getUint8(at + n))).join("");
}

function checked(header: NiftiHeader, source: string): NiftiHeader {
  if (!header.magic.startsWith(header.version === 1 ? "n+1" : "n+2")) {
    throw new FileFormatError(
      `${source}: not a single-file NIfTI (wrong magic); convert it to .nii or .nii.gz`,
    );
  }
  if (!(header.dim[0]! >= 1 && header.dim[0]! <= 7)) {
    throw new FileFormatError(`${source}: the header announces ${header.dim[0]} axes; the file is damaged`);
  }
  return header;
}

/** Return the array shape that a geometry announces. */
export function shapeOf(geometry: Geometry): number[] {
  return geometry.dim.slice(1, geometry.dim[0]! + 1);
}

/** Take the geometry out of a header and make its affine; errors as `embedded-vit predict`. */
export function placed(header: Geometry, source: string): Placed {
  const flat = header.dim[0] === 2;
  const pixdim = [...header.pixdim];
  if (flat && !(Number.isFinite(pixdim[3]!) && pixdim[3]! > 0)) pixdim[3] = 1;
  const spacing = pixdim.slice(1, 4);
  if (!spacing.every((length) => Number.isFinite(length) && length > 0)) {
    const numbers = spacing.map((length) => general(length)).join(", ");
    throw new FileFormatError(
      `${source}: the voxel spacing is ${numbers}, all must be above zero; repair the header`,
    );
  }
  const geometry: Geometry = { ...header, pixdim, quatern: shortened(header.quatern) };
  const remarks = flat
    ? [`a 2-D image, taken as one slice ${general(spacing[2]!)} mm thick: volumes are only as right as that`]
    : [];
  const unit = MM_PER_UNIT[header.xyztUnits & 7] ?? 1;
  const stated = bestAffine(geometry, source);
  const affine = stated.map((row, place) => row.map((value) => (place < 3 ? unit * value : value)));
  if (flat && affine.slice(0, 3).every((row) => row[2] === 0)) addNormal(affine, spacing[2]!);
  const shape = shapeOf(header);
  checkAffine(affine, source, shape);
  const disagreement = disagreementOf(geometry, stated);
  return { geometry, affine, shape, remarks: disagreement ? [...remarks, disagreement] : remarks };
}

/** Whether a header says where the patient's left is. */
export function orientationKnown(geometry: Geometry): boolean {
  return geometry.qformCode > 0 || geometry.sformCode > 0;
}

/** Bring a quaternion that is longer than 1 by rounding to that length. */
function shortened(quatern: Triple): Triple {
  const square = quatern.reduce((sum, part) => sum + part * part, 0);
  if (!(square > 1 && square <= 1 + QUATERNION_ROUNDING)) return quatern;
  return quatern.map((part) => part / Math.sqrt(square)) as Triple;
}

function bestAffine(geometry: Geometry, source: string): Affine {
  if (geometry.sformCode) return [...geometry.srow.map((row) => [...row]), [0, 0, 0, 1]];
  if (geometry.qformCode) return qform(geometry, source);
  const shape = [...shapeOf(geometry).slice(0, 3), 1, 1].slice(0, 3);
  const zooms = geometry.pixdim.slice(1, 4).map((length, axis) => (axis < geometry.dim[0]! ? length : 1));
  zooms[0] = -zooms[0]!; // nibabel's guess: x grows to the patient's left
  const affine: Affine = zooms.map((zoom, axis) =>
    [0, 1, 2].map((column) => (column === axis ? zoom : 0)).concat(-((shape[axis]! - 1) / 2) * zoom),
  );
  return [...affine, [0, 0, 0, 1]];
}

function qform(geometry: Geometry, source: string): Affine {
  const length = Math.hypot(...geometry.quatern);
  if (!(length <= 1 + LONGEST_EXCESS)) {
    throw new FileFormatError(`${source}: the rotation in the header (qform) is not one; repair the header`);
  }
  const [x, y, z] = geometry.quatern.map((part) => part / Math.max(1, length)) as Triple;
  const w = Math.sqrt(Math.max(0, 1 - length ** 2));
  const s = 2 / (w * w + x * x + y * y + z * z);
  const rotation = [
    [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
    [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
    [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
  ];
  const spacing = geometry.pixdim.slice(1, 4);
  if (geometry.pixdim[0]! < 0) spacing[2] = -spacing[2]!;
  const rows = rotation.map((row, place) => [
    ...row.map((value, axis) => value * spacing[axis]!),
    geometry.qoffset[place]!,
  ]);
  return [...rows, [0, 0, 0, 1]];
}

function addNormal(affine: Affine, thickness: number): void {
  const [a, b] = [0, 1].map((axis) => affine.slice(0, 3).map((row) => row[axis]!)) as [number[], number[]];
  const normal = [
    a[1]! * b[2]! - a[2]! * b[1]!,
    a[2]! * b[0]! - a[0]! * b[2]!,
    a[0]! * b[1]! - a[1]! * b[0]!,
  ];
  const length = Math.hypot(...normal) || 1;
  normal.forEach((value, row) => (affine[row]![2] = (value / length) * thickness));
}

/** Say that qform and sform put voxels at different places. */
function disagreementOf(geometry: Geometry, taken: Affine): string | null {
  if (!geometry.sformCode || !geometry.qformCode) return null;
  let other: Affine;
  try {
    other = qform(geometry, "");
  } catch {
    return "the qform of the header is not a rotation: the sform was taken";
  }
  const apart = voxelsApart(taken, other, shapeOf(geometry));
  if (apart <= 1) return null;
  return (
    `qform and sform of the header put voxels up to ${general(apart, 3)} voxels apart: the sform was taken; other ` +
    "programs may take the qform, so check the sides"
  );
}

/** Return how far apart two affines put one array, in voxels of the first: the most along an axis at any corner. */
export function voxelsApart(affine: Affine, other: Affine, shape: readonly number[]): number {
  const inverse = inverse3(affine.map((row) => row.slice(0, 3)));
  let most = 0;
  for (let corner = 0; corner < 8; corner++) {
    const at = [0, 1, 2].map((axis) => (corner >> axis) & 1 && ((shape[axis] ?? 1) - 1));
    const shift = [0, 1, 2].map((row) =>
      [...at, 1].reduce((sum, value, axis) => sum + value * (other[row]![axis]! - affine[row]![axis]!), 0),
    );
    for (const row of inverse) most = Math.max(most, Math.abs(row.reduce((sum, v, axis) => sum + v * shift[axis]!, 0)));
  }
  return most;
}
