// The one door to what a user drops: NIfTI files, a picture, or a DICOM series.

import { readDicom } from "./dicom";
import { FileFormatError } from "./errors";
import type { Contract } from "./manifest";
import { ORIENTATION_WARNING, orientationKnown, type Geometry, type Placed } from "./niftiHeader";
import { readNifti, type ReadScan } from "./niftiFile";
import { readPicture } from "./pictures";
import type { Pixels } from "./png";
import type { Scan } from "./segmenting";

export interface NamedFile {
  file: Blob;
  name: string;
}

/** A scan with what is needed to write its mask: the geometry of a NIfTI file, or the pixels of a picture. */
export interface OpenedScan {
  scan: Scan;
  stem: string;
  geometry: Geometry | null;
  pixels: Pixels | null;
}

const NIFTI = /\.nii(\.gz)?$/i;
const PICTURE = /\.(png|jpe?g|bmp)$/i;
const TIFF = /\.tiff?$/i;
const OTHERS = /\.(nrrd|nhdr|mha|mhd|h5|hdr|img|npz)$/i;

/** Read what was dropped. */
export async function openScan(files: NamedFile[], contract: Contract, dicomWasm: () => Promise<ArrayBuffer>): Promise<OpenedScan> {
  const { channels, modality } = contract.preprocessing;
  const shown = files.filter(({ name }) => !name.split("/").at(-1)!.startsWith("."));
  const [first] = shown;
  if (!first) throw new FileFormatError("nothing was given; drop a NIfTI file, a folder with a DICOM series, or a picture");
  const other = shown.find(({ name }) => TIFF.test(name) || OTHERS.test(name));
  if (other) {
    throw new FileFormatError(`${other.name}: of a kind that the page does not read; segment it with \`embedded-vit predict\``);
  }
  if (shown.every(({ name }) => NIFTI.test(name))) return openNifti(inOrder(shown, channels), channels.length);
  if (PICTURE.test(first.name)) {
    if (shown.length > 1) throw new FileFormatError(`${shown.length} pictures; give one at a time`);
    const { pixels, ...scan } = await readPicture(first.file, first.name, channels.length);
    return { scan, stem: first.name.replace(PICTURE, ""), geometry: null, pixels };
  }
  const folder = first.name.includes("/") ? first.name.split("/")[0]! : shown.length > 1 ? "series" : first.name;
  const read = await readDicom(shown, await dicomWasm(), modality, folder);
  const scan = { volume: read.volume, format: "DICOM", modality: read.modality, remarks: remarksOf(read) };
  return { scan, stem: folder.replace(/\.dcm$/i, ""), geometry: read.placed.geometry, pixels: null };
}

function remarksOf(read: ReadScan): string[] {
  return orientationKnown(read.placed.geometry) ? read.remarks : [...read.remarks, ORIENTATION_WARNING];
}

async function openNifti(files: NamedFile[], channels: number): Promise<OpenedScan> {
  const [first, ...others] = files as [NamedFile, ...NamedFile[]];
  const stem = first.name.split("/").at(-1)!.replace(NIFTI, "");
  const read = await readNifti(first.file, first.name, others.length ? 1 : channels);
  const scan: Scan = { volume: read.volume, format: "NIfTI", modality: null, remarks: remarksOf(read) };
  for (const { file, name } of others) {
    const next = await readNifti(file, name, 1);
    checkSameGrid(read.placed, next.placed, first.name, name);
    if (next.volume.slope !== read.volume.slope || next.volume.intercept !== read.volume.intercept) {
      throw new FileFormatError(`${name}: scaled otherwise than ${first.name}, segment them with \`embedded-vit predict\``);
    }
    scan.volume.channels.push(...next.volume.channels);
  }
  return { scan, stem: others.length ? stem.replace(/_\d{4}$/, "") : stem, geometry: read.placed.geometry, pixels: null };
}

function checkSameGrid(one: Placed, other: Placed, name: string, otherName: string): void {
  const sameShape = one.shape.join() === other.shape.join();
  const apart = Math.max(...one.affine.flat().map((value, place) => Math.abs(value - other.affine.flat()[place]!)));
  if (!sameShape || apart > 0.05) {
    throw new FileFormatError(`${otherName}: lies on another grid than ${name}; resample it to the scan`);
  }
}

/** Put the files of several channels in order, by nnU-Net's numbers or by the channels' names. */
function inOrder(files: NamedFile[], channels: string[]): NamedFile[] {
  if (files.length === 1) return files;
  if (files.length !== channels.length) {
    throw new FileFormatError(`${files.length} files, this artifact takes ${channels.length}: ${channels.join(", ")}`);
  }
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const numbered = files.map(({ name }) => /_(\d{4})\.nii(\.gz)?$/i.exec(name)?.[1]);
  const found = channels.map((channel, place) => {
    const fits = files.filter(({ name }, n) =>
      numbered.every(Boolean) ? Number(numbered[n]) === place : plain(name.replace(NIFTI, "")).endsWith(plain(channel)),
    );
    return fits.length === 1 ? fits[0]! : null;
  });
  if (found.includes(null) || new Set(found).size !== files.length) {
    throw new FileFormatError(
      `the names of the files do not say which channel is which; end them in ${channels.map((_, n) => `_000${n}`).join(", ")}`,
    );
  }
  return found as NamedFile[];
}
