// PNG files: read exactly, 1 to 16 bits, grey, coloured or by palette; masks are written.

import { unzlibSync, zlibSync } from "fflate";

import { FileFormatError } from "./errors";
import { thousands } from "./numbers";

export const MOST_PIXELS = 8192;
const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const SAMPLES: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS: Record<number, number[]> = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };

/** Pixels of a picture: one plane for grey, three for red, green and blue. */
export interface Pixels {
  width: number;
  height: number;
  planes: (Uint8Array | Uint16Array)[];
  transparent: boolean;
  sixteenBitColours: boolean;
  dotsPerInch: [number, number] | null; // horizontal, vertical
}

interface Header {
  width: number;
  height: number;
  depth: number;
  colour: number;
}

export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, place) => bytes[place] === byte);
}

/** Read a PNG file; errors as `embedded-vit predict`. */
export function readPng(bytes: Uint8Array, source: string): Pixels {
  const damaged = () => new FileFormatError(`${source}: the picture is truncated or damaged; copy it again`);
  const chunks = chunksOf(bytes, damaged);
  const header = headerOf(chunks.find(([kind]) => kind === "IHDR")?.[1], source, damaged);
  if (chunks.some(([kind]) => kind === "acTL")) {
    throw new FileFormatError(`${source}: holds several pictures, one is expected; save each to a file of its own`);
  }
  if (chunks.some(([kind]) => kind === "eXIf")) {
    throw new FileFormatError(`${source}: holds EXIF data, which the page does not read; save it again as plain PNG`);
  }
  const palette = chunks.find(([kind]) => kind === "PLTE")?.[1] ?? null;
  const alphas = chunks.find(([kind]) => kind === "tRNS")?.[1] ?? null;
  const rows = unfiltered(chunks, header, damaged);
  const made = planesOf(rows, header, palette, alphas, damaged);
  const physical = chunks.find(([kind]) => kind === "pHYs")?.[1];
  const sixteenBitColours = header.depth === 16 && header.colour !== 0;
  return { ...header, ...made, sixteenBitColours, dotsPerInch: physical ? density(physical) : null };
}

/** Return the chunks up to the end; their checksums are compared. */
function chunksOf(bytes: Uint8Array, damaged: () => Error): [string, Uint8Array][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks: [string, Uint8Array][] = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) throw damaged();
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (crc32(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) throw damaged();
    chunks.push([kind, bytes.subarray(at + 8, at + 8 + length)]);
    if (kind === "IEND") return chunks;
    at += 12 + length;
  }
  throw damaged();
}

function headerOf(chunk: Uint8Array | undefined, source: string, damaged: () => Error): Header {
  if (chunk?.length !== 13) throw damaged();
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const header = { width: view.getUint32(0), height: view.getUint32(4), depth: chunk[8]!, colour: chunk[9]! };
  if (Math.max(header.width, header.height) > MOST_PIXELS) throw tooLarge(source);
  if (!header.width || !header.height || !DEPTHS[header.colour]?.includes(header.depth)) throw damaged();
  if (chunk[12]) {
    throw new FileFormatError(`${source}: an interlaced PNG, which the page does not read; save it without interlacing`);
  }
  return header;
}

export function tooLarge(source: string): FileFormatError {
  return new FileFormatError(
    `${source}: more than ${thousands(MOST_PIXELS)} pixels along a side; crop or reduce the picture`,
  );
}

/** Unpack the rows and undo their filters: (height, bytes of a row). */
function unfiltered(chunks: [string, Uint8Array][], header: Header, damaged: () => Error): Uint8Array {
  const parts = chunks.filter(([kind]) => kind === "IDAT").map(([, part]) => part);
  const bits = header.depth * SAMPLES[header.colour]!;
  const rowBytes = Math.ceil((header.width * bits) / 8);
  const packed = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (packed.set(part, at), at + part.length), 0);
  let raw: Uint8Array;
  try {
    raw = unzlibSync(packed, { out: new Uint8Array(header.height * (rowBytes + 1)) });
  } catch {
    throw damaged();
  }
  if (raw.length !== header.height * (rowBytes + 1)) throw damaged();
  const back = Math.max(1, bits >> 3);
  const rows = new Uint8Array(header.height * rowBytes);
  for (let row = 0; row < header.height; row++) {
    const kind = raw[row * (rowBytes + 1)]!;
    if (kind > 4) throw damaged();
    const to = row * rowBytes;
    for (let i = 0; i < rowBytes; i++) {
      const left = i >= back ? rows[to + i - back]! : 0;
      const above = row ? rows[to + i - rowBytes]! : 0;
      const corner = row && i >= back ? rows[to + i - rowBytes - back]! : 0;
      rows[to + i] = raw[row * (rowBytes + 1) + 1 + i]! + predicted(kind, left, above, corner);
    }
  }
  return rows;
}

function predicted(kind: number, left: number, above: number, corner: number): number {
  if (kind === 0) return 0;
  if (kind === 1) return left;
  if (kind === 2) return above;
  if (kind === 3) return (left + above) >> 1;
  const guess = left + above - corner;
  const [toLeft, toAbove, toCorner] = [Math.abs(guess - left), Math.abs(guess - above), Math.abs(guess - corner)];
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** Return the planes as Pillow gives them: grey as stored or stretched to 8 bits, colours with 8 bits. */
function planesOf(
  rows: Uint8Array,
  header: Header,
  palette: Uint8Array | null,
  alphas: Uint8Array | null,
  damaged: () => Error,
): { planes: (Uint8Array | Uint16Array)[]; transparent: boolean } {
  const { width, height, depth, colour } = header;
  const samples = SAMPLES[colour]!;
  const rowBytes = Math.ceil((width * depth * samples) / 8);
  const sample = (row: number, place: number) => {
    if (depth === 8) return rows[row * rowBytes + place]!;
    if (depth === 16) return rows[row * rowBytes + 2 * place]! * 256 + rows[row * rowBytes + 2 * place + 1]!;
    const bit = place * depth;
    return (rows[row * rowBytes + (bit >> 3)]! >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
  };
  const wide = depth === 16 && colour === 0;
  const colours = colour === 2 || colour === 3 || colour === 6 ? 3 : 1;
  const plane = () => (wide ? new Uint16Array(width * height) : new Uint8Array(width * height));
  const planes = Array.from({ length: colours }, plane);
  const stretch = colour === 0 && depth < 8 ? 255 / ((1 << depth) - 1) : 1;
  let transparent = false;
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at++) {
      const first = sample(row, column * samples);
      if (colour === 3) {
        if (!palette || 3 * first + 2 >= palette.length) throw damaged();
        for (let n = 0; n < 3; n++) planes[n]![at] = palette[3 * first + n]!;
        transparent ||= alphas !== null;
        continue;
      }
      for (let n = 0; n < colours; n++) {
        const value = sample(row, column * samples + n) * stretch;
        planes[n]![at] = depth === 16 && !wide ? value >> 8 : value;
      }
      if (samples === 2 || samples === 4) {
        transparent ||= sample(row, column * samples + samples - 1) >> (depth - 8) < 255;
      }
    }
  }
  return { planes, transparent };
}

function density(chunk: Uint8Array): [number, number] | null {
  if (chunk.length !== 9 || chunk[8] !== 1) return null;
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  return [view.getUint32(0) * 0.0254, view.getUint32(4) * 0.0254];
}

let table: Uint32Array | null = null;

function crc32(bytes: Uint8Array): number {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    return value;
  });
  let crc = 0xffffffff;
  for (const byte of bytes) crc = table[(crc ^ byte) & 255]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Write a grey picture of 8 bits. */
export function writeGreyPng(pixels: Uint8Array, width: number, height: number): Uint8Array {
  const raw = new Uint8Array(height * (width + 1));
  for (let row = 0; row < height; row++) raw.set(pixels.subarray(row * width, (row + 1) * width), row * (width + 1) + 1);
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8;
  const chunks = [chunk("IHDR", header), chunk("IDAT", zlibSync(raw)), chunk("IEND", new Uint8Array(0))];
  const file = new Uint8Array(chunks.reduce((sum, part) => sum + part.length, 8));
  file.set(SIGNATURE);
  chunks.reduce((at, part) => (file.set(part, at), at + part.length), 8);
  return file;
}

function chunk(kind: string, content: Uint8Array): Uint8Array {
  const made = new Uint8Array(content.length + 12);
  const view = new DataView(made.buffer);
  view.setUint32(0, content.length);
  [...kind].forEach((letter, place) => (made[4 + place] = letter.charCodeAt(0)));
  made.set(content, 8);
  view.setUint32(8 + content.length, crc32(made.subarray(4, 8 + content.length)));
  return made;
}
