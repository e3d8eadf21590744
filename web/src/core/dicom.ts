// A DICOM series becomes NIfTI by dcm2niix, compiled to WebAssembly; nothing leaves the page.

// @ts-expect-error the package states no types for its module
import openModule from "../../node_modules/@niivue/dcm2niix/dist/dcm2niix.jpeg.js";

import { FileFormatError } from "./errors";
import { readNifti, type ReadScan } from "./niftiFile";
import type { NamedFile } from "./reading";

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

interface Series {
  name: string;
  nifti: Blob;
  modality: string;
  number: string;
}

const BEHIND_THE_PAGE = "which the page does not read; segment it with `embedded-vit predict`";

/** Read the only series of a folder, or the only one of the modality that is wanted. */
export async function readDicom(
  files: NamedFile[],
  wasm: ArrayBuffer,
  wanted: string,
  folder: string,
): Promise<ReadScan & { modality: string }> {
  const found = await converted(files, wasm);
  if (!found.length) {
    throw new FileFormatError(
      `${folder}: no image that can be read: a NIfTI file (.nii.gz, .nii), a folder with a DICOM series, or a picture ` +
        "(.png, .jpg, .bmp) is expected",
    );
  }
  const names = found.map((series) => series.name);
  if (names.some((name) => /_Tilt/.test(name))) throw new FileFormatError(`${folder}: a tilted series, ${BEHIND_THE_PAGE}`);
  if (names.some((name) => /_Eq/.test(name))) {
    throw new FileFormatError(`${folder}: slices are missing or unevenly spaced; copy the series again or resample it`);
  }
  const ofModality = found.filter((series) => series.modality === wanted);
  const candidates = ofModality.length ? ofModality : found;
  if (candidates.length > 1) {
    const list = candidates.map((series) => `${series.modality} ${series.number}`).join("; ");
    throw new FileFormatError(`${folder}: holds ${candidates.length} series (${list}); give the files of one of them`);
  }
  const [series] = candidates as [Series];
  const read = await readNifti(series.nifti, folder, 1);
  return { ...read, modality: series.modality };
}

async function converted(files: NamedFile[], wasm: ArrayBuffer): Promise<Series[]> {
  const silent = () => undefined;
  const module = await (openModule as OpenModule)({ wasmBinary: wasm, print: silent, printErr: silent });
  module.FS.mkdir("/in");
  module.FS.mkdir("/out");
  for (const [number, { file }] of files.entries()) {
    module.FS.writeFile(`/in/${number}.dcm`, new Uint8Array(await file.arrayBuffer()));
  }
  try {
    module.callMain(["-z", "n", "-b", "y", "-ba", "y", "-i", "y", "-f", "%s", "-o", "/out", "/in"]);
  } catch {
    throw new FileFormatError(`${files.length} files: damaged, or not DICOM; copy the series again`);
  }
  const written = module.FS.readdir("/out");
  return written
    .filter((name) => name.endsWith(".nii"))
    .map((name) => {
      const stem = name.slice(0, -".nii".length);
      const sidecar = `${stem}.json`;
      const facts = written.includes(sidecar)
        ? (JSON.parse(new TextDecoder().decode(module.FS.readFile(`/out/${sidecar}`))) as Record<string, unknown>)
        : {};
      return {
        name: stem,
        nifti: new Blob([new Uint8Array(module.FS.readFile(`/out/${name}`))]),
        modality: stated(facts["Modality"]) ?? "unknown",
        number: `series ${stated(facts["SeriesNumber"]) ?? stem}`,
      };
    });
}

function stated(value: unknown): string | null {
  return typeof value === "string" || typeof value === "number" ? String(value) : null;
}
