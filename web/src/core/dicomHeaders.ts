// The headers of a folder of DICOM files: which series is meant. As src/embedded_vit/io/dicom reads them.

import { parseDicom, type DataSet } from "dicom-parser";

import { FileFormatError } from "./errors";
import type { NamedFile } from "./namedFile";
import { general, thousands } from "./numbers";

const HEADER_BYTES = 1 << 18; // read first of each file; more only where the header is longer
const META_BYTES = 2048; // that say how a file is stored
const LISTED = 8;
const DEFLATED = "1.2.840.10008.1.2.1.99";
const IMPLICIT = "1.2.840.10008.1.2";
const UNCOMPRESSED = [IMPLICIT, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"];
const NOT_SCANS: Record<string, string> = { SEG: "segmentations", RTDOSE: "radiotherapy doses" };
export const BEHIND_THE_PAGE = "which the page does not read; segment it with `embedded-vit predict`";

/** One plane of an image, as its header says it. */
export interface Slice {
  shape: [number, number]; // rows, columns
  kind: string; // of its stored numbers
  position: number[]; // LPS+ mm
  across: number[];
  down: number[];
  spacing: [number, number]; // from row to row, from column to column
  thickness: number | null;
  slope: number;
  intercept: number;
  padding: [number, number] | null; // stored numbers that stand for no measurement
  instance: number | null; // of a file's first slice
}

export interface DicomFile extends NamedFile {
  series: string;
  number: number | null;
  modality: string;
  frames: number;
  header: DataSet;
}

export interface Series {
  files: DicomFile[];
  modality: string;
  leftOut: string[];
}

/** Find the series that is to be segmented: the only one of the modality, or else the only one. */
export async function findSeries(files: NamedFile[], wanted: string, top: string): Promise<Series> {
  const reasons: string[] = [];
  const found: DicomFile[] = [];
  for (const file of files) {
    if (/(^|\/)DICOMDIR$/i.test(file.name)) continue; // an index of the others
    const read = await readHeader(file);
    if (typeof read === "string") reasons.push(read);
    else found.push(read);
  }
  const bySeries = new Map<string, DicomFile[]>();
  for (const file of found) {
    if (isLocalizer(file)) reasons.push("localizer");
    else if (!isPlaced(file)) reasons.push(`${file.modality} image without a place`);
    else bySeries.set(file.series, [...(bySeries.get(file.series) ?? []), file]);
  }
  const series = [...bySeries.values()].sort((one, other) => (one[0]!.number ?? 0) - (other[0]!.number ?? 0));
  if (!series.length) throw noSeries(found, reasons, top);
  const chosen = chosenOf(series, wanted, top);
  const others = series.filter((one) => one !== chosen).map((one) => `series ${described(one)}`);
  return { files: chosen, modality: chosen[0]!.modality, leftOut: [...counted(reasons), ...others] };
}

function chosenOf(series: DicomFile[][], wanted: string, top: string): DicomFile[] {
  const scans = series.filter(([file]) => !(file!.modality in NOT_SCANS));
  if (!scans.length) {
    const kinds = [...new Set(series.map(([file]) => NOT_SCANS[file!.modality]))].sort().join(" and ");
    throw new FileFormatError(`${top}: ${kinds}, not a scan; give the folder of the CT or MR series`);
  }
  const ofModality = scans.filter(([file]) => file!.modality === wanted);
  const possible = ofModality.length ? ofModality : scans;
  const onTop = possible.filter((files) => files.some(({ name }) => name.split("/").length <= 2));
  const candidates = onTop.length ? onTop : possible;
  if (candidates.length === 1) return candidates[0]!;
  const list = candidates.slice(0, LISTED).map(described).join(", ");
  throw new FileFormatError(
    `${top}: ${candidates.length} series: ${list}${candidates.length > LISTED ? ", ..." : ""}; give the files of one of them`,
  );
}

function described(files: DicomFile[]): string {
  const slices = files.reduce((sum, file) => sum + file.frames, 0);
  const [{ number, modality }] = files as [DicomFile];
  return `number ${number ?? "unknown"} (${modality}, ${slices} slice${slices === 1 ? "" : "s"})`;
}

function counted(reasons: string[]): string[] {
  return [...new Set(reasons)].map((reason) => {
    const count = reasons.filter((each) => each === reason).length;
    return count === 1 ? reason : `${count} x ${reason}`;
  });
}

function noSeries(found: DicomFile[], reasons: string[], top: string): FileFormatError {
  if (found.length && found.every(isLocalizer)) {
    return new FileFormatError(`${top}: localizers (scouts) alone, no series to segment; give the folder of the scan`);
  }
  if (found.length) {
    return new FileFormatError(
      `${top}: no DICOM image in this folder says where it lies (ImagePositionPatient); export the series again`,
    );
  }
  const kinds = counted(reasons).join(", ") || "nothing";
  return new FileFormatError(`${top}: no DICOM image in this folder: ${kinds}; give the folder of a CT or MR series`);
}

/** Read the header of a file, or say why it is passed over. */
async function readHeader(file: NamedFile): Promise<DicomFile | string> {
  if (!file.file.size) return "empty file";
  const start = new Uint8Array(await file.file.slice(0, HEADER_BYTES).arrayBuffer());
  const isDicom = String.fromCharCode(...start.subarray(128, 132)) === "DICM";
  const isBare = start[0] === 8 && start[1] === 0 && start[3] === 0; // of a tool that wrote no preamble
  if (!isDicom && !isBare) return "file that is not DICOM";
  const options = { untilTag: "x7fe00010", ...(isDicom ? {} : { TransferSyntaxUID: IMPLICIT }) };
  if (new TextDecoder("latin1").decode(start.subarray(0, META_BYTES)).includes(DEFLATED)) {
    return `deflated file, ${BEHIND_THE_PAGE}`;
  }
  let header: DataSet;
  try {
    header = parseDicom(start, options);
    if (!("x7fe00010" in header.elements) && file.file.size > start.length) throw new Error("a longer header");
  } catch {
    try {
      header = parseDicom(new Uint8Array(await file.file.arrayBuffer()), options);
    } catch {
      return "truncated or damaged file";
    }
  }
  if (!header.uint16("x00280010") || !header.uint16("x00280011")) return "DICOM file without an image";
  return {
    ...file,
    series: header.string("x0020000e") ?? "",
    number: whole(header, "x00200011"),
    modality: header.string("x00080060") ?? "unknown",
    frames: whole(header, "x00280008") ?? 1,
    header,
  };
}

function isLocalizer({ header }: DicomFile): boolean {
  return (header.string("x00080008") ?? "").split("\\").includes("LOCALIZER");
}

function isPlaced({ header }: DicomFile): boolean {
  return Boolean(header.string("x00200032")) || "x52009230" in header.elements;
}

function whole(header: DataSet, tag: string): number | null {
  const text = header.string(tag)?.trim();
  return text && Number.isInteger(Number(text)) ? Number(text) : null;
}

/** Check a header and return its slices; errors as `embedded-vit predict`. */
export function slicesOf(file: DicomFile): Slice[] {
  const { header, name, frames, modality } = file;
  const type = (header.string("x00080008") ?? "").split("\\");
  if (type.includes("MOSAIC")) {
    throw new FileFormatError(
      `${name}: a Siemens mosaic, all slices of a volume in one picture; convert it with dcm2niix, and give the NIfTI file`,
    );
  }
  const photometric = (header.string("x00280004") ?? "MONOCHROME2").trim();
  if ((header.uint16("x00280002") ?? 1) !== 1 || !["MONOCHROME1", "MONOCHROME2"].includes(photometric)) {
    throw new FileFormatError(`${name}: a colour image; a greyscale scan is expected`);
  }
  const placed = header.elements["x52009230"]?.items?.length ?? 1;
  if (frames !== placed) {
    throw new FileFormatError(`${name}: ${frames} frames, but ${placed} positions; export the series again`);
  }
  checkLength(file);
  const lut = "x00283000" in header.elements;
  return Array.from({ length: frames }, (_, frame) => {
    const rescale = valueOf(header, frame, "x00289145", "x00281054") ?? "HU";
    if (lut || (modality === "CT" && !/^(HU|US)/i.test(rescale))) {
      throw new FileFormatError(`${name}: not in HU (RescaleType, ModalityLUTSequence); export the series in HU`);
    }
    return sliceOf(file, frame);
  });
}

function checkLength({ header, name, file, frames }: DicomFile): void {
  const syntax = (header.string("x00020010") ?? IMPLICIT).trim();
  const bits = header.uint16("x00280100") ?? 16;
  const needed = (frames * header.uint16("x00280010")! * header.uint16("x00280011")! * bits) / 8;
  if (!UNCOMPRESSED.includes(syntax) || file.size >= needed) return;
  throw new FileFormatError(
    `${name}: truncated: ${thousands(file.size)} bytes cannot hold the ${thousands(needed)} that the header announces; ` +
      "copy the file again",
  );
}

function sliceOf({ header, name }: DicomFile, frame: number): Slice {
  const needed = (group: string, tag: string, keyword: string, count: number) => {
    const numbers = numbersOf(header, frame, group, tag, keyword, count, name);
    if (!numbers) throw new FileFormatError(`${name}: no ${keyword}; export the series again`);
    return numbers;
  };
  const single = (group: string, tag: string, keyword: string) =>
    numbersOf(header, frame, group, tag, keyword, 1, name)?.[0] ?? null;
  const directions = needed("x00209116", "x00200037", "ImageOrientationPatient", 6);
  const [across, down] = [directions.slice(0, 3), directions.slice(3)] as [number[], number[]];
  const lengths = [Math.hypot(...across), Math.hypot(...down)] as const;
  const cosine = across.reduce((sum, value, axis) => sum + value * down[axis]!, 0);
  if (lengths.some((length) => Math.abs(length - 1) > 0.01) || Math.abs(cosine) > 0.01) {
    throw new FileFormatError(`${name}: ImageOrientationPatient is not a rotation; export the series again`);
  }
  const spacing = needed("x00289110", "x00280030", "PixelSpacing", 2) as [number, number];
  if (Math.min(...spacing) <= 0) {
    const [row, column] = spacing.map((length) => general(length));
    throw new FileFormatError(`${name}: the PixelSpacing is ${row}, ${column}; both must be above 0`);
  }
  const signed = header.uint16("x00280103") === 1;
  const padding = ["x00280120", "x00280121"].map((tag) => (signed ? header.int16(tag) : header.uint16(tag)));
  const [value, limit] = padding;
  return {
    shape: [header.uint16("x00280010")!, header.uint16("x00280011")!],
    kind: `${signed ? "int" : "uint"}${header.uint16("x00280100") ?? 16}`,
    position: needed("x00209113", "x00200032", "ImagePositionPatient", 3),
    across: across.map((part) => part / lengths[0]),
    down: down.map((part) => part / lengths[1]),
    spacing,
    thickness: single("x00289110", "x00180050", "SliceThickness"),
    slope: single("x00289145", "x00281053", "RescaleSlope") ?? 1,
    intercept: single("x00289145", "x00281052", "RescaleIntercept") ?? 0,
    padding: value === undefined ? null : [Math.min(value, limit ?? value), Math.max(value, limit ?? value)],
    instance: frame ? null : whole(header, "x00200013"),
  };
}

/** Return a tag of a frame: its own, else the one that all frames share, else the file's. */
function valueOf(header: DataSet, frame: number, group: string, tag: string): string | undefined {
  for (const [groups, index] of [["x52009230", frame], ["x52009229", 0]] as const) {
    const item = header.elements[groups]?.items?.[index]?.dataSet?.elements[group]?.items?.[0]?.dataSet;
    if (item && tag in item.elements) return item.string(tag);
  }
  return header.string(tag);
}

function numbersOf(
  header: DataSet,
  frame: number,
  group: string,
  tag: string,
  keyword: string,
  count: number,
  name: string,
): number[] | null {
  const text = valueOf(header, frame, group, tag)?.trim();
  if (!text) return null;
  const numbers = text.split("\\").map(Number);
  if (numbers.length !== count || !numbers.every((value) => Math.abs(value) < 1e9)) {
    const expected = count === 1 ? "a finite number" : `${count} finite numbers`;
    throw new FileFormatError(`${name}: the ${keyword} is not ${expected}; export the series again`);
  }
  return numbers;
}
