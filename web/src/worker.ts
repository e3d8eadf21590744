// The worker's script. One worker conducts: it reads, prepares and labels. The others compute the network.

import { Cancelled, ContractError, FileFormatError } from "./core/errors";
import type { Contract } from "./core/manifest";
import type { FromWorker, ModelFile, Result, ToWorker } from "./core/messages";
import type { NamedFile } from "./core/namedFile";
import { packed, writeMask, writeScan } from "./core/niftiFile";
import { NetworkPool } from "./core/pool";
import { writeGreyPng } from "./core/png";
import { openScan, type OpenedScan } from "./core/reading";
import { segment, type Network, type Segmented } from "./core/segmenting";
import { openNetwork } from "./core/session";
import { reoriented } from "./core/volume";

const PROGRESS_MS = 250;
const scope = self as unknown as DedicatedWorkerGlobalScope;
let network: Network | null = null;
let contract: Contract | null = null;
let description = "";
let cancelled = false;
let asker: MessagePort | DedicatedWorkerGlobalScope = scope; // the page, or the worker that conducts

function tell(message: FromWorker, transfer: Transferable[] = []): void {
  asker.postMessage(message, transfer);
}

function onMessage({ data }: MessageEvent<ToWorker>): void {
  void answer(data).catch((error: unknown) => {
    tell({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
  });
}

scope.onmessage = onMessage;

async function answer(message: ToWorker): Promise<void> {
  if (message.kind === "network") await open(() => openHere(message.file));
  else if (message.kind === "run") await run(message.id, message.input);
  else if (message.kind === "serve") {
    asker = message.port;
    message.port.onmessage = onMessage;
  } else if (message.kind === "cancel") cancelled = true;
  else if (message.kind === "open") {
    contract = message.contract;
    description = message.description;
    await open(() => NetworkPool.open(message.ports, message.file));
  } else await segmentFiles(message.files, message.dicomWasm, message.force);
}

async function open(make: () => Promise<Network>): Promise<void> {
  const started = performance.now();
  network = await make();
  tell({ kind: "ready", seconds: (performance.now() - started) / 1000 });
}

async function openHere(file: ModelFile): Promise<Network> {
  const opened = await openNetwork(file.wasm, file.model, file.name);
  void opened.warmUp();
  return opened;
}

async function run(id: number, input: Float32Array): Promise<void> {
  try {
    const logits = await network!.run(input);
    tell({ kind: "ran", id, logits }, [logits.buffer as ArrayBuffer]);
  } catch (error) {
    tell({ kind: "failed", id, message: error instanceof Error ? error.message : String(error) });
  }
}

async function segmentFiles(files: NamedFile[], dicomWasm: ArrayBuffer | null, force: boolean): Promise<void> {
  cancelled = false;
  try {
    const started = performance.now();
    const opened = await openScan(files, contract!, () => Promise.resolve(dicomWasm!));
    const read = performance.now();
    const sha256 = digestOf(opened);
    sha256.catch(() => undefined); // the scan may be refused before anyone waits for it
    const segmented = await segment(opened.scan, contract!, network!, {
      force,
      isCancelled: () => cancelled,
      onProgress: seldom((done, total) => tell({ kind: "progress", done, total })),
    });
    const seconds = { reading: (read - started) / 1000, segmenting: (performance.now() - read) / 1000 };
    const result = await resultOf(opened, segmented, seconds, await sha256);
    tell({ kind: "result", result }, transferable(result));
  } catch (error) {
    if (error instanceof Cancelled) tell({ kind: "cancelled" });
    else if (error instanceof ContractError) {
      tell({ kind: "refused", message: error.message, overrulable: error.overrulable });
    } else if (error instanceof FileFormatError) tell({ kind: "refused", message: error.message, overrulable: false });
    else if (error instanceof RangeError) {
      tell({ kind: "failed", message: "out of memory; close other tabs, or segment the scan with `embedded-vit predict`" });
    } else throw error;
  }
}

/** Tell progress a few times a second: to draw it may take as long as a slice where no graphics card helps. */
function seldom(progress: (done: number, total: number) => void): (done: number, total: number) => void {
  let told = -Infinity;
  return (done, total) => {
    const now = performance.now();
    if (done < total && now - told < PROGRESS_MS) return;
    told = now;
    progress(done, total);
  };
}

async function resultOf(
  opened: OpenedScan,
  { mask, ...segmented }: Segmented,
  seconds: Result["seconds"],
  sha256: string | null,
): Promise<Result> {
  const { scan, pixels, geometry, stem } = opened;
  const shape = scan.volume.shape;
  const slices = reoriented(scan.volume, contract!.preprocessing.orientation).shape[0];
  const common = { stem, format: scan.format, segmented, mask, sha256, seconds, slices };
  if (pixels || !geometry) {
    const [, height, width] = shape;
    const picture = { width, height, rgba: seenPixels(scan.volume.channels, scan.volume.slope, segmented.ranges) };
    return { ...common, maskFile: writeGreyPng(mask, width, height), scanFile: null, picture };
  }
  return {
    ...common,
    maskFile: await packed(writeMask(mask, geometry, description)),
    scanFile: writeScan(scan.volume, geometry),
    picture: null,
  };
}

/** Return a picture in the range of intensities that the network sees. */
function seenPixels(channels: ArrayLike<number>[], slope: number, ranges: [number, number][]): Uint8ClampedArray {
  const [first] = channels as [ArrayLike<number>];
  const rgba = new Uint8ClampedArray(first.length * 4).fill(255);
  for (let at = 0; at < first.length; at++) {
    for (let colour = 0; colour < 3; colour++) {
      const channel = channels.length === 3 ? colour : 0;
      const [low, high] = ranges[channel]!;
      rgba[4 * at + colour] = (255 * (channels[channel]![at]! * slope - low)) / (high > low ? high - low : 1);
    }
  }
  return rgba;
}

function transferable(result: Result): Transferable[] {
  const arrays = [result.maskFile, result.scanFile, result.mask, result.picture?.rgba];
  return arrays.filter((array) => array !== null && array !== undefined).map((array) => array.buffer as ArrayBuffer);
}

/** Return the SHA-256 of a file; of several files that of their digests, sorted for a DICOM series. */
async function digestOf({ files, scan }: OpenedScan): Promise<string | null> {
  if (!scope.crypto?.subtle) return null;
  const hexadecimal = async (bytes: BufferSource) =>
    [...new Uint8Array(await scope.crypto.subtle.digest("SHA-256", bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const digests: string[] = [];
  for (const { file } of files) digests.push(await hexadecimal(await file.arrayBuffer()));
  if (scan.format === "DICOM") digests.sort();
  else if (digests.length === 1) return digests[0]!;
  return hexadecimal(new TextEncoder().encode(digests.join("")));
}
