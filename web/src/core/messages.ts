// What the page and its workers tell each other.

import type { Contract } from "./manifest";
import type { NamedFile } from "./namedFile";
import type { Segmented } from "./segmenting";

/** What a worker needs to compute a network. */
export interface ModelFile {
  wasm: ArrayBuffer;
  model: Uint8Array;
  name: string;
}

export type ToWorker =
  | { kind: "network"; file: ModelFile }
  | { kind: "run"; id: number; input: Float32Array }
  | { kind: "open"; file: ModelFile; contract: Contract; ports: MessagePort[]; description: string }
  | { kind: "serve"; port: MessagePort }
  | { kind: "segment"; files: NamedFile[]; dicomWasm: ArrayBuffer | null; force: boolean }
  | { kind: "cancel" };

/** A finished mask, as files that a user can save, and what is shown of it. */
export interface Result {
  stem: string;
  format: string;
  segmented: Omit<Segmented, "mask">;
  mask: Uint8Array; // voxels
  maskFile: Uint8Array; // NIfTI, not packed; or PNG
  scanFile: Uint8Array | null; // NIfTI, not packed, as the viewer shows it
  picture: { width: number; height: number; rgba: Uint8ClampedArray } | null;
  sha256: string | null;
  seconds: { reading: number; segmenting: number };
  slices: number;
}

export type FromWorker =
  | { kind: "ready"; seconds: number }
  | { kind: "ran"; id: number; logits: Float32Array }
  | { kind: "progress"; done: number; total: number }
  | { kind: "result"; result: Result }
  | { kind: "refused"; message: string; overrulable: boolean }
  | { kind: "cancelled" }
  | { kind: "failed"; message: string; id?: number };
