// NIfTI files: a scan is read, a mask is written. Limits are checked before memory is taken.

import { FileFormatError } from "./errors";
import { HEADER_BYTES, parseHeader, placed, shapeOf, type Geometry, type NiftiHeader, type Placed } from "./niftiHeader";
import { general, thousands } from "./numbers";
import { ByteReader } from "./unpacking";
import { firstAxisFastest, type Triple, type Volume, type Voxels } from "./volume";

const MOST_VOXELS = 2 ** 32;
const MOST_BYTES = 4 * MOST_VOXELS;
const MOST_IN_BROWSER = 2 ** 31 - 2 ** 16; // bytes of one array in any current browser
const MOST_EXTENSION_BYTES = 1 << 22;
const MOST_TRAILING_BYTES = 1 << 24;
const DEFLATE_BEST_RATIO = 1032;

type Maker = new (buffer: ArrayBuffer) => Voxels | BigInt64Array | BigUint64Array;
const KINDS: Record<number, [Maker, string]> = {
  2: [Uint8Array, "uint8"],
  4: [Int16Array, "int16"],
  8: [Int32Array, "int32"],
  16: [Float32Array, "float32"],
  64: [Float64Array, "float64"],
  256: [Int8Array, "int8"],
  512: [Uint16Array, "uint16"],
  768: [Uint32Array, "uint32"],
  1024: [BigInt64Array, "int64"],
  1280: [BigUint64Array, "uint64"],
};
const OTHER_KINDS: Record<number, string> = {
  1: "RGB or bits",
  32: "complex64",
  128: "RGB or bits",
  1536: "float128",
  1792: "complex128",
  2048: "complex256",
  2304: "RGB or bits",
};

/** A scan that was read from a file, and what a person should know of how. */
export interface ReadScan {
  volume: Volume;
  placed: Placed;
  remarks: string[];
}

/** Read a NIfTI file whole.
 *
 * @param channels How many are expected on a fourth axis; 1 for a file of three axes.
 */
export async function readNifti(file: Blob, source: string, channels: number): Promise<ReadScan> {
  const packed = await isPacked(file, source);
  const reader = new ByteReader(file, packed, source);
  let start = await reader.read(HEADER_BYTES[1]);
  if (start.length === HEADER_BYTES[1] && announcesVersion2(start)) {
    start = joined(start, await reader.read(HEADER_BYTES[2] - HEADER_BYTES[1]));
  }
  const header = parseHeader(start, source);
  const shape = expectedShape(header, channels, source);
  const [maker] = kindOf(header, source);
  const bytesPerVoxel = new maker(new ArrayBuffer(8)).BYTES_PER_ELEMENT;
  checkSize(shape, bytesPerVoxel, source);
  const where = placed(header, source);
  const [slope, intercept] = scaling(header, source);
  const each = shape.slice(0, 3).reduce((product, length) => product * length, bytesPerVoxel);
  checkFileSize(file.size, each * channels, packed, source);
  await skipToVoxels(reader, header, source);
  const read: Voxels[] = [];
  let done = 0;
  for (let channel = 0; channel < channels; channel++) {
    const buffer = new ArrayBuffer(each);
    const there = await reader.readInto(new Uint8Array(buffer));
    done += there;
    if (there < each) {
      throw new FileFormatError(
        `${source}: truncated: ${thousands(done)} of ${thousands(each * channels)} bytes of voxels are there; copy ` +
          "the file again",
      );
    }
    if (!header.littleEndian) swapBytes(new Uint8Array(buffer), bytesPerVoxel);
    read.push(plainNumbers(new maker(buffer)));
  }
  const more = await reader.drain(MOST_TRAILING_BYTES);
  if (more > MOST_TRAILING_BYTES) {
    throw new FileFormatError(
      `${source}: far more bytes than the header announces; the file is damaged or of another kind`,
    );
  }
  read.forEach((voxels) => checkFinite(voxels, slope, intercept, source));
  const after = more ? [`${thousands(more)} bytes behind the last voxel were ignored: is the header right?`] : [];
  const three = shape.slice(0, 3) as Triple;
  const layout = firstAxisFastest(three);
  const volume = { ...layout, channels: read, affine: where.affine, slope, intercept, spacingKnown: true, source };
  return { volume, placed: where, remarks: [...where.remarks, ...after] };
}

async function isPacked(file: Blob, source: string): Promise<boolean> {
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  const named = source.toLowerCase().endsWith(".gz");
  const packed = start[0] === 0x1f && start[1] === 0x8b;
  if (named && !packed) {
    if (start.length === 4 && [0x5c, 0x1c].includes(Math.max(start[0]!, start[3]!))) {
      throw new FileFormatError(`${source}: a NIfTI file that is not compressed; rename it to end in .nii`);
    }
    const found = [start[0], start[1]].map((byte) => String.fromCharCode(byte ?? 0)).join("");
    throw new FileFormatError(
      `${source}: truncated or damaged: Not a gzipped file (${JSON.stringify(found)}); copy the file again`,
    );
  }
  return named;
}

function announcesVersion2(start: Uint8Array): boolean {
  const view = new DataView(start.buffer, start.byteOffset);
  return view.getInt32(0, true) === HEADER_BYTES[2] || view.getInt32(0, false) === HEADER_BYTES[2];
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

function expectedShape(header: NiftiHeader, channels: number, source: string): number[] {
  const shape = shapeOf(header);
  while (shape.length < 3) shape.push(1);
  while (shape.length > 3 && shape.at(-1) === 1) shape.pop();
  const lengths = shape.join(" x ");
  const axes = channels === 1 ? 3 : 4;
  if (shape.length !== axes) {
    const wanted = channels === 1 ? "3-D" : `4-D with ${channels} channels`;
    throw new FileFormatError(`${source}: ${shape.length}-D (${lengths}) where ${wanted} is expected`);
  }
  if (shape.length === 4 && shape[3] !== channels) {
    throw new FileFormatError(`${source}: ${shape[3]} channels (${lengths}) where ${channels} are expected`);
  }
  return shape;
}

function kindOf(header: NiftiHeader, source: string): [Maker, string] {
  const kind = KINDS[header.datatype];
  if (kind) return kind;
  const other = OTHER_KINDS[header.datatype];
  if (!other) throw new FileFormatError(`${source}: unknown data type code ${header.datatype}`);
  throw new FileFormatError(`${source}: voxels are ${other}; integers or floating point numbers are expected`);
}

function checkSize(shape: number[], bytesPerVoxel: number, source: string): void {
  const lengths = shape.join(" x ");
  if (Math.min(...shape) < 1) {
    throw new FileFormatError(`${source}: the array is empty (${lengths || "no axes"}); a scan was expected`);
  }
  const voxels = shape.reduce((product, length) => product * length, 1);
  if (voxels > MOST_VOXELS || voxels * bytesPerVoxel > MOST_BYTES) {
    throw new FileFormatError(
      `${source}: the header announces ${lengths} voxels of ${bytesPerVoxel} bytes; at most ` +
        `${thousands(MOST_VOXELS)} voxels and ${thousands(MOST_BYTES)} bytes are read; crop or resample the scan`,
    );
  }
  if (voxels * bytesPerVoxel > MOST_IN_BROWSER) {
    throw new FileFormatError(
      `${source}: ${thousands(voxels * bytesPerVoxel)} bytes of voxels, more than a browser can hold; ` +
        "segment it with `embedded-vit predict`",
    );
  }
}

function checkFileSize(there: number, expected: number, packed: boolean, source: string): void {
  if (packed && expected > there * DEFLATE_BEST_RATIO) {
    throw new FileFormatError(
      `${source}: truncated: ${thousands(there)} compressed bytes cannot hold the ${thousands(expected)} bytes that ` +
        "the header announces; copy the file again",
    );
  }
  if (!packed && there < expected) {
    throw new FileFormatError(
      `${source}: truncated: ${thousands(there)} bytes cannot hold the ${thousands(expected)} bytes of voxels that ` +
        "the header announces; copy the file again",
    );
  }
}

function scaling(header: NiftiHeader, source: string): [number, number] {
  if (header.slope === 0 || !Number.isFinite(header.slope)) return [1, 0];
  if (!Number.isFinite(header.intercept)) {
    throw new FileFormatError(
      `${source}: the intercept (scl_inter) is ${general(header.intercept)}; repair the header`,
    );
  }
  return [header.slope, header.intercept];
}

async function skipToVoxels(reader: ByteReader, header: NiftiHeader, source: string): Promise<void> {
  const first = header.headerBytes + 4;
  if (!(header.voxOffset >= first && header.voxOffset <= MOST_EXTENSION_BYTES)) {
    throw new FileFormatError(
      `${source}: voxels are said to start at byte ${general(header.voxOffset)}; ${first} or a little more expected`,
    );
  }
  const skip = Math.trunc(header.voxOffset) - header.headerBytes;
  if ((await reader.read(skip)).length < skip) {
    throw new FileFormatError(`${source}: truncated before the first voxel; copy the file again`);
  }
}

function swapBytes(bytes: Uint8Array, size: number): void {
  if (size === 1) return;
  for (let start = 0; start < bytes.length; start += size) bytes.subarray(start, start + size).reverse();
}

function plainNumbers(numbers: Voxels | BigInt64Array | BigUint64Array): Voxels {
  if (numbers instanceof BigInt64Array || numbers instanceof BigUint64Array) return Float64Array.from(numbers, Number);
  return numbers;
}

function checkFinite(voxels: Voxels, slope: number, intercept: number, source: string): void {
  const isFloat = voxels instanceof Float32Array || voxels instanceof Float64Array;
  if (!isFloat && slope === 1 && intercept === 0) return;
  const [by, to] = [Math.fround(slope), Math.fround(intercept)];
  for (let place = 0; place < voxels.length; place++) {
    if (!Number.isFinite(Math.fround(Math.fround(Math.fround(voxels[place]!) * by) + to))) {
      throw new FileFormatError(`${source}: intensities are NaN or infinite; repair the file`);
    }
  }
}

/** Return a NIfTI file of a mask as uint8 with the geometry of its scan, little-endian, not packed. */
export function writeMask(voxels: Uint8Array, geometry: Geometry, description: string): Uint8Array {
  const headerBytes = HEADER_BYTES[geometry.version];
  const file = new Uint8Array(headerBytes + 4 + voxels.length);
  const view = new DataView(file.buffer);
  const dim = [...geometry.dim];
  if (dim[0]! > 3) dim.fill(1, 4); // a mask has no channels
  dim[0] = Math.min(dim[0]!, 3);
  const fields = { ...geometry, dim };
  if (geometry.version === 1) write1(view, fields);
  else write2(view, fields);
  const at = geometry.version === 1 ? 148 : 240;
  new TextEncoder().encodeInto(description.slice(0, 79), file.subarray(at, at + 80));
  file.set(voxels, headerBytes + 4);
  return file;
}

/** Return the first channel of a scan as a NIfTI file for the viewer, in the numbers that are stored. */
export function writeScan(volume: Volume, geometry: Geometry): Uint8Array {
  const voxels = volume.channels[0]!;
  const code = Object.keys(KINDS).find((key) => voxels instanceof KINDS[Number(key)]![0])!;
  const bytes = new Uint8Array(voxels.buffer, voxels.byteOffset, voxels.byteLength);
  const file = writeMask(bytes, geometry, "");
  const view = new DataView(file.buffer);
  const [kind, bits, slope, size] = geometry.version === 1 ? [70, 72, 112, 4] : [12, 14, 176, 8];
  view.setInt16(kind, Number(code), true);
  view.setInt16(bits, 8 * voxels.BYTES_PER_ELEMENT, true);
  [volume.slope, volume.intercept].forEach((value, n) => {
    if (size === 4) view.setFloat32(slope + 4 * n, value, true);
    else view.setFloat64(slope + 8 * n, value, true);
  });
  return file;
}

function write1(view: DataView, geometry: Geometry): void {
  view.setInt32(0, 348, true);
  view.setUint8(38, "r".charCodeAt(0));
  view.setUint8(39, geometry.dimInfo);
  geometry.dim.forEach((length, n) => view.setInt16(40 + 2 * n, length, true));
  view.setInt16(70, 2, true);
  view.setInt16(72, 8, true);
  geometry.pixdim.forEach((length, n) => view.setFloat32(76 + 4 * n, length, true));
  view.setFloat32(108, 352, true);
  view.setFloat32(112, 1, true);
  view.setUint8(123, geometry.xyztUnits);
  view.setInt16(252, geometry.qformCode, true);
  view.setInt16(254, geometry.sformCode, true);
  geometry.quatern.forEach((value, n) => view.setFloat32(256 + 4 * n, value, true));
  geometry.qoffset.forEach((value, n) => view.setFloat32(268 + 4 * n, value, true));
  geometry.srow.flat().forEach((value, n) => view.setFloat32(280 + 4 * n, value, true));
  [..."n+1"].forEach((letter, n) => view.setUint8(344 + n, letter.charCodeAt(0)));
}

function write2(view: DataView, geometry: Geometry): void {
  view.setInt32(0, 540, true);
  [0x6e, 0x2b, 0x32, 0, 0x0d, 0x0a, 0x1a, 0x0a].forEach((byte, n) => view.setUint8(4 + n, byte));
  view.setInt16(12, 2, true);
  view.setInt16(14, 8, true);
  geometry.dim.forEach((length, n) => view.setBigInt64(16 + 8 * n, BigInt(length), true));
  geometry.pixdim.forEach((length, n) => view.setFloat64(104 + 8 * n, length, true));
  view.setBigInt64(168, 544n, true);
  view.setFloat64(176, 1, true);
  view.setInt32(344, geometry.qformCode, true);
  view.setInt32(348, geometry.sformCode, true);
  geometry.quatern.forEach((value, n) => view.setFloat64(352 + 8 * n, value, true));
  geometry.qoffset.forEach((value, n) => view.setFloat64(376 + 8 * n, value, true));
  geometry.srow.flat().forEach((value, n) => view.setFloat64(400 + 8 * n, value, true));
  view.setInt32(500, geometry.xyztUnits, true);
  view.setUint8(524, geometry.dimInfo);
}

/** Pack a file as gzip, by the browser itself: without a time in it, and beside other work. */
export function packed(file: Uint8Array): Promise<Uint8Array> {
  return through(new CompressionStream("gzip"), file);
}

/** Unpack a mask that `packed` made. */
export function unpackedMask(file: Uint8Array): Promise<Uint8Array> {
  return through(new DecompressionStream("gzip"), file);
}

async function through(stream: CompressionStream | DecompressionStream, file: Uint8Array): Promise<Uint8Array> {
  const made = new Blob([file as BlobPart]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(made).arrayBuffer());
}
