// A picture as a scan of one slice; intensities are shares of the full scale. As `embedded-vit predict` reads it.

import { FileFormatError } from "./errors";
import { isPng, MOST_PIXELS, readPng, tooLarge, type Pixels } from "./png";
import type { Scan } from "./segmenting";
import type { Affine, Volume } from "./volume";

const MM_PER_INCH = 25.4;
const SCREENS_AND_PRINTERS = [
  72, 96, 100, 120, 144, 150, 180, 192, 200, 220, 240, 250, 300, 350, 360, 400, 500, 600, 720, 800, 1000, 1200, 2400,
  4800,
];
const DENSITY_ROUNDING = 0.005;
const [SMALLEST_MM, LARGEST_MM, MOST_RATIO] = [1e-5, 20, 10];

/** Read a picture for a network of so many channels. */
export async function readPicture(file: Blob, name: string, wanted: number): Promise<Scan & { pixels: Pixels }> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const pixels = isPng(bytes) ? readPng(bytes, name) : await decodedByBrowser(file, bytes, name);
  const remarks: string[] = [];
  if (pixels.sixteenBitColours) remarks.push(`${name}: 16-bit colours are read with the precision of 8 bits`);
  if (pixels.transparent) remarks.push(`${name}: its transparency (alpha) was left out`);
  let { planes } = pixels;
  if (wanted > 1 && planes.length === 1) {
    remarks.push(`${name}: a grey picture, whose one channel is taken for each of the ${wanted} colours`);
    planes = Array.from({ length: wanted }, () => planes[0]!);
  } else if (wanted === 1 && planes.length > 1) {
    const [first, ...others] = planes as [Uint8Array, ...Uint8Array[]];
    if (others.some((plane) => plane.some((value, at) => value !== first[at]))) {
      throw new FileFormatError(`${name}: a coloured picture; one grey channel is expected: convert it`);
    }
    planes = [first];
  }
  const pixelMm = pixelSize(pixels.dotsPerInch);
  const volume: Volume = {
    channels: planes,
    shape: [1, pixels.height, pixels.width],
    strides: [pixels.width * pixels.height, pixels.width, 1],
    offset: 0,
    affine: pictureAffine(pixelMm),
    slope: 1 / (planes[0] instanceof Uint16Array ? 65535 : 255),
    intercept: 0,
    spacingKnown: pixelMm !== null,
    source: name,
  };
  return { volume, format: "picture", modality: "picture", remarks, pixels };
}

/** Return where pixels lie, (slice, row, column) -> RAS+; a slice is as thick as a pixel is wide on average. */
function pictureAffine(pixelMm: [number, number] | null): Affine {
  const [height, width] = pixelMm ?? [1, 1];
  return [
    [0, 0, -width, 0],
    [0, -height, 0, 0],
    [(height + width) / 2, 0, 0, 0],
    [0, 0, 0, 1],
  ];
}

/** Return height and width of a pixel in mm, where a density says them and is not that of a screen or a printer. */
function pixelSize(dotsPerInch: [number, number] | null): [number, number] | null {
  if (!dotsPerInch || !dotsPerInch.every((dots) => dots > 0 && Number.isFinite(dots))) return null;
  const known = (dots: number) =>
    SCREENS_AND_PRINTERS.some((each) => Math.abs(dots - each) <= DENSITY_ROUNDING * each);
  if (dotsPerInch.some(known)) return null;
  const [width, height] = dotsPerInch.map((dots) => MM_PER_INCH / dots) as [number, number];
  const [low, high] = [Math.min(width, height), Math.max(width, height)];
  return low >= SMALLEST_MM && high <= LARGEST_MM && high <= MOST_RATIO * low ? [height, width] : null;
}

/** Decode a JPEG or BMP picture, which the browser turns as its EXIF orientation says. */
async function decodedByBrowser(file: Blob, bytes: Uint8Array, name: string): Promise<Pixels> {
  const isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
  const isBmp = bytes[0] === 0x42 && bytes[1] === 0x4d;
  if (!isJpeg && !isBmp) {
    throw new FileFormatError(`${name}: not a PNG, JPEG or BMP picture; save it again as PNG`);
  }
  let image: ImageBitmap;
  try {
    image = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new FileFormatError(`${name}: the picture is truncated or damaged; copy it again`);
  }
  const { width, height } = image;
  if (Math.max(width, height) > MOST_PIXELS) throw tooLarge(name);
  const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  canvas.drawImage(image, 0, 0);
  const { data } = canvas.getImageData(0, 0, width, height);
  const planes = [0, 1, 2].map((channel) => Uint8Array.from({ length: width * height }, (_, at) => data[4 * at + channel]!));
  const grey = planes[0]!.every((value, at) => value === planes[1]![at] && value === planes[2]![at]);
  return {
    width,
    height,
    planes: isJpeg && grey && isGreyJpeg(bytes) ? [planes[0]!] : planes,
    transparent: false,
    sixteenBitColours: false,
    dotsPerInch: isJpeg ? jfifDensity(bytes) : null,
  };
}

function isGreyJpeg(bytes: Uint8Array): boolean {
  const frame = segmentsOf(bytes).find(([marker]) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker));
  return frame?.[1][5] === 1;
}

function jfifDensity(bytes: Uint8Array): [number, number] | null {
  const header = segmentsOf(bytes).find(([marker, content]) => marker === 0xe0 && content[0] === 0x4a)?.[1];
  if (!header || header.length < 12) return null;
  const perUnit = [header[8]! * 256 + header[9]!, header[10]! * 256 + header[11]!] as [number, number];
  if (header[7] === 1) return perUnit;
  return header[7] === 2 ? (perUnit.map((dots) => dots * 2.54) as [number, number]) : null;
}

function segmentsOf(bytes: Uint8Array): [number, Uint8Array][] {
  const found: [number, Uint8Array][] = [];
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; ) {
    const length = bytes[at + 2]! * 256 + bytes[at + 3]!;
    found.push([bytes[at + 1]!, bytes.subarray(at + 4, at + 2 + length)]);
    at += 2 + Math.max(2, length);
  }
  return found;
}
