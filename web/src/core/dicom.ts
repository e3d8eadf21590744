// A DICOM series becomes NIfTI by dcm2niix, compiled to WebAssembly; its headers say beforehand what must come out.

// @ts-expect-error the package states no types for its module
import openModule from "../../node_modules/@niivue/dcm2niix/dist/dcm2niix.jpeg.js";

import { BEHIND_THE_PAGE, findSeries, slicesOf, type Slice } from "./dicomHeaders";
import { numberingRemark, placeSlices } from "./dicomPlacement";
import { FileFormatError } from "./errors";
import type { NamedFile } from "./namedFile";
import { readNifti, type ReadScan } from "./niftiFile";
import { voxelsApart } from "./niftiHeader";
import type { Affine, Triple, Volume } from "./volume";

interface Converter {
  FS: {
    mkdir(path: string): void;
    readdir(path: string): string[];
    readFile(path: string): Uint8Array;
    writeFile(path: string, content: Uint8Array): void;
  };
  callMain(words: string[]): number;
}

type OpenModule = (options: { wasmBinary: ArrayBuffer; print(): void; printErr(): void }) => Promise<Converter>;

const MOST_APART = 0.1; // of a voxel: how far dcm2niix may put a voxel from where the headers do
const AIR_HU = -1000;

/** Read the only series of a folder, or the only one of the modality that is wanted. */
export async function readDicom(
  files: NamedFile[],
  wasm: ArrayBuffer,
  wanted: string,
  folder: string,
): Promise<ReadScan & { modality: string; files: NamedFile[] }> {
  const series = await findSeries(files, wanted, folder);
  const leftOut = series.leftOut.length ? `left out of the folder: ${series.leftOut.join("; ")}` : "";
  try {
    const { ordered, affine, tilted } = placeSlices(series.files.flatMap(slicesOf), folder);
    if (tilted) throw new FileFormatError(`${folder}: a tilted series, ${BEHIND_THE_PAGE}`);
    const [first] = ordered as [Slice];
    if (ordered.some(({ slope, intercept }) => slope !== first.slope || intercept !== first.intercept)) {
      throw new FileFormatError(`${folder}: slices that are scaled differently, ${BEHIND_THE_PAGE}`);
    }
    const read = await convertedScan(series.files, wasm, folder);
    checkPlace(read.volume, affine, [first.shape[1], first.shape[0], ordered.length], folder);
    withoutPadding(read.volume, first, series.modality, folder);
    const numbering = numberingRemark(ordered);
    const remarks = [leftOut, numbering ?? "", ...read.remarks].filter(Boolean);
    return { ...read, remarks, modality: series.modality, files: series.files };
  } catch (error) {
    if (!(error instanceof FileFormatError) || !leftOut) throw error;
    throw new FileFormatError(`${error.message} (${leftOut})`);
  }
}

async function convertedScan(files: NamedFile[], wasm: ArrayBuffer, folder: string): Promise<ReadScan> {
  const written = await converted(files, wasm);
  // Beside a volume may lie one that dcm2niix has resampled.
  const volumes = written.filter(({ name }) => !/_(Eq|Tilt)/.test(name));
  if (volumes.length !== 1) {
    const what = volumes.length ? `${volumes.length} volumes in one series` : "a series that dcm2niix cannot decode";
    throw new FileFormatError(`${folder}: ${what}, ${BEHIND_THE_PAGE}`);
  }
  return readNifti(volumes[0]!.nifti, folder, 1);
}

/** Compare where dcm2niix puts the voxels with the headers; it turns rows and slices round, and nothing else. */
function checkPlace(volume: Volume, affine: Affine, shape: Triple, folder: string): void {
  const fits = [0, 1, 2, 3].some((flips) => {
    const turned = affine.map((row) => [...row]);
    for (const axis of [1, 2]) {
      if (!((flips >> (axis - 1)) & 1)) continue;
      for (const row of turned.slice(0, 3)) {
        row[3]! += row[axis]! * (shape[axis]! - 1);
        row[axis]! *= -1;
      }
    }
    return voxelsApart(turned, volume.affine, shape) <= MOST_APART;
  });
  if (volume.shape.join() === shape.join() && fits) return;
  throw new FileFormatError(`${folder}: dcm2niix puts its voxels elsewhere than their headers do, so it is a series ${BEHIND_THE_PAGE}`);
}

/** Put air where a scanner has written that it measured nothing, as outside its round field of view. */
function withoutPadding(volume: Volume, { padding, slope, intercept }: Slice, modality: string, folder: string): void {
  if (!padding) return;
  if (Math.abs(volume.slope - slope) > 1e-6 * Math.abs(slope) || Math.abs(volume.intercept - intercept) > 1e-3) {
    throw new FileFormatError(`${folder}: a series with padding that dcm2niix has scaled, ${BEHIND_THE_PAGE}`);
  }
  const [low, high] = padding;
  const air = Math.round(modality === "CT" ? (AIR_HU - intercept) / slope : 0);
  for (const voxels of volume.channels) {
    for (let at = 0; at < voxels.length; at++) if (voxels[at]! >= low && voxels[at]! <= high) voxels[at] = air;
  }
}

async function converted(files: NamedFile[], wasm: ArrayBuffer): Promise<{ name: string; nifti: Blob }[]> {
  const silent = () => undefined;
  const module = await (openModule as OpenModule)({ wasmBinary: wasm, print: silent, printErr: silent });
  module.FS.mkdir("/in");
  module.FS.mkdir("/out");
  for (const [number, { file }] of files.entries()) {
    module.FS.writeFile(`/in/${number}.dcm`, new Uint8Array(await file.arrayBuffer()));
  }
  try {
    module.callMain(["-z", "n", "-b", "n", "-i", "n", "-m", "y", "-f", "scan", "-o", "/out", "/in"]);
  } catch {
    throw new FileFormatError(`${files.length} files: damaged, or not DICOM; copy the series again`);
  }
  const written = module.FS.readdir("/out").filter((name) => name.endsWith(".nii"));
  return written.map((name) => ({ name, nifti: new Blob([new Uint8Array(module.FS.readFile(`/out/${name}`))]) }));
}
