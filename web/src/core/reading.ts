// The one door to what a user drops: NIfTI files, a picture, or a DICOM series.

import { channelFiles, joinedChannels } from "./channels";
import { readDicom } from "./dicom";
import { FileFormatError } from "./errors";
import type { Contract } from "./manifest";
import type { NamedFile } from "./namedFile";
import { ORIENTATION_WARNING, orientationKnown, type Geometry } from "./niftiHeader";
import { readNifti, type ReadScan } from "./niftiFile";
import { readPicture } from "./pictures";
import type { Pixels } from "./png";
import type { Scan } from "./segmenting";

/** A scan with what is needed to write its mask: the geometry of a NIfTI file, or the pixels of a picture. */
export interface OpenedScan {
  scan: Scan;
  stem: string;
  geometry: Geometry | null;
  pixels: Pixels | null;
  files: NamedFile[]; // that were read, in the order of the channels
}

const NIFTI = /\.nii(\.gz)?$/i;
const PICTURE = /\.(png|jpe?g|bmp)$/i;
// What the page does not read, and which program turns it into what the page reads.
const OTHERS: [RegExp, string, string][] = [
  [/\.tiff?$/i, "a TIFF picture", "save it as PNG in ImageJ or GIMP"],
  [/\.(nrrd|nhdr|mha|mhd)$/i, "an NRRD or MetaImage file", "save it as .nii.gz in 3D Slicer or ITK-SNAP"],
  [/\.(hdr|img)$/i, "a NIfTI or Analyze pair", "save it as .nii.gz in 3D Slicer or ITK-SNAP"],
  [/\.(h5|npz)$/i, "an array file", "give the scan as .nii.gz"],
];

/** Read what was dropped. */
export async function openScan(files: NamedFile[], contract: Contract, dicomWasm: () => Promise<ArrayBuffer>): Promise<OpenedScan> {
  const { channels, modality } = contract.preprocessing;
  const shown = files.filter(({ name }) => !name.split("/").at(-1)!.startsWith("."));
  const [first] = shown;
  if (!first) throw new FileFormatError("nothing was given; drop a NIfTI file, a folder with a DICOM series, or a picture");
  for (const [kind, what, advice] of OTHERS) {
    if (shown.every(({ name }) => kind.test(name))) {
      throw new FileFormatError(
        `${first.name}: ${what}, which the page does not read; ${advice}, or segment it with \`embedded-vit predict\``,
      );
    }
  }
  if (shown.every(({ name }) => NIFTI.test(name))) return openNifti(shown, channels);
  if (PICTURE.test(first.name)) {
    if (shown.length > 1) throw new FileFormatError(`${shown.length} pictures; give one at a time`);
    const { pixels, ...scan } = await readPicture(first.file, first.name, channels.length);
    return { scan, stem: first.name.replace(PICTURE, ""), geometry: null, pixels, files: [first] };
  }
  const folder = first.name.includes("/") ? first.name.split("/")[0]! : shown.length > 1 ? "series" : first.name;
  const read = await readDicom(shown, await dicomWasm(), modality, folder);
  const scan = { volume: read.volume, format: "DICOM", modality: read.modality, remarks: remarksOf(read) };
  return { scan, stem: folder.replace(/\.dcm$/i, ""), geometry: read.placed.geometry, pixels: null, files: read.files };
}

function remarksOf(read: ReadScan): string[] {
  return orientationKnown(read.placed.geometry) ? read.remarks : [...read.remarks, ORIENTATION_WARNING];
}

async function openNifti(files: NamedFile[], channels: string[]): Promise<OpenedScan> {
  const stemOf = ({ name }: NamedFile) => name.split("/").at(-1)!.replace(NIFTI, "");
  // One file may hold all channels on a fourth axis.
  const { ordered, stem } = files.length === 1 ? { ordered: files, stem: stemOf(files[0]!) } : channelFiles(files, channels, stemOf);
  const all: ReadScan[] = [];
  for (const { file, name } of ordered) all.push(await readNifti(file, name, ordered.length > 1 ? 1 : channels.length));
  const read = joinedChannels(all as [ReadScan, ...ReadScan[]]);
  const scan: Scan = { volume: read.volume, format: "NIfTI", modality: null, remarks: remarksOf(read) };
  return { scan, stem, geometry: read.placed.geometry, pixels: null, files: ordered };
}
