// The page's core without a page: segments scans under Node, for tests against the Python program.

import { readFile, writeFile } from "node:fs/promises";

import { ContractError, FileFormatError } from "./core/errors";
import type { Contract } from "./core/manifest";
import { writeMask } from "./core/niftiFile";
import { roundTo } from "./core/numbers";
import { gridOf, intensityRanges, networkInputs } from "./core/preprocessing";
import { labelSlice } from "./core/labelling";
import { openScan } from "./core/reading";
import { Components } from "./core/components";
import { smallestShares } from "./core/manifest";
import { segment, type Network } from "./core/segmenting";
import { openNetwork } from "./core/session";
import { sizesOf } from "./core/sizes";
import type { Volume } from "./core/volume";

const DICOM_WASM = "node_modules/@niivue/dcm2niix/dist/dcm2niix.jpeg.wasm"; // in web/, where tests run

interface Job {
  model: string;
  contract: Contract;
  scans: { files: { path: string; name: string }[]; output: string; force?: boolean }[];
}

interface SoakJob extends Job {
  seconds: number;
  leastRounds: number; // where the seconds are few
}

interface VectorJob {
  contract: Contract;
  shape: [number, number, number, number]; // channels, slices, rows, columns
  slope: number;
  intercept: number;
  spacing_mm: [number, number, number] | null;
  scan: string; // float64 numbers
  logits: string; // float32 numbers
  inputs: string; // to write, float32
  labels: string; // to write, uint8
  postprocessed: string; // to write, uint8
}

async function network(model: string, wasm: string): Promise<Network> {
  const binary = await readFile(wasm);
  const bytes = binary.buffer.slice(binary.byteOffset, binary.byteOffset + binary.byteLength);
  return openNetwork(bytes, await readFile(model), model);
}

/** Segment scans; the answer has a line for each: its summary, or why it was refused. */
async function segmentAll(job: Job, computed: Network): Promise<unknown[]> {
  const answers: unknown[] = [];
  for (const { files, output, force } of job.scans) {
    try {
      const named = await Promise.all(files.map(async ({ path, name }) => ({ file: new Blob([await readFile(path)]), name })));
      const { scan, geometry } = await openScan(named, job.contract, async () => arrayBuffer(await readFile(DICOM_WASM)));
      const found = await segment(scan, job.contract, computed, { force: force ?? false });
      if (geometry) await writeFile(output, writeMask(found.mask, geometry, ""));
      answers.push({ ...found, mask: undefined });
    } catch (error) {
      if (!(error instanceof ContractError || error instanceof FileFormatError)) throw error;
      answers.push({ refused: error.message });
    }
  }
  return answers;
}

/** Segment all scans again and again; the answer has the memory after each round, and what the last one found. */
async function soak(job: SoakJob, computed: Network): Promise<{ resident: number[]; answers: unknown[] }> {
  const end = performance.now() + 1000 * job.seconds;
  const resident: number[] = []; // bytes
  for (;;) {
    const answers = await segmentAll(job, computed);
    resident.push(process.memoryUsage().rss);
    const isOver = performance.now() > end && resident.length >= job.leastRounds;
    if (isOver || answers.some((answer) => "refused" in (answer as object))) return { resident, answers };
  }
}

/** Compute the stages of docs/contract.md from test vectors. */
async function stages(job: VectorJob): Promise<unknown> {
  const [channels, slices, rows, columns] = job.shape;
  const numbers = new Float64Array(arrayBuffer(await readFile(job.scan)));
  const each = slices * rows * columns;
  const [down, beside, across] = job.spacing_mm ?? [1, 1, 1];
  const volume: Volume = {
    channels: Array.from({ length: channels }, (_, n) => numbers.subarray(n * each, (n + 1) * each)),
    shape: [slices, rows, columns],
    strides: [rows * columns, columns, 1],
    offset: 0,
    affine: [
      [0, 0, -across, 0],
      [0, -beside, 0, 0],
      [down, 0, 0, 0],
      [0, 0, 0, 1],
    ],
    slope: job.slope,
    intercept: job.intercept,
    spacingKnown: job.spacing_mm !== null,
    source: "vectors",
  };
  const { preprocessing } = job.contract;
  const grid = gridOf(volume, preprocessing);
  const inputs = [...networkInputs(volume, preprocessing, intensityRanges(volume, preprocessing), grid)];
  await writeFile(job.inputs, Buffer.concat(inputs.map((input) => Buffer.from(input.buffer))));
  const logits = new Float32Array(arrayBuffer(await readFile(job.logits)));
  const classes = job.contract.labels.labels.length + 1;
  const size = logits.length / slices;
  const labels = new Uint8Array(each);
  const components = new Components(volume);
  for (let n = 0; n < slices; n++) {
    components.add(labels, n, labelSlice(logits.subarray(n * size, (n + 1) * size), classes, grid));
  }
  await writeFile(job.labels, labels);
  const changed = components.removeSmall(labels, smallestShares(job.contract));
  await writeFile(job.postprocessed, labels);
  const counts = new Array<number>(256).fill(0);
  labels.forEach((label) => counts[label]!++);
  return { changed, ...sizesOf(counts, job.contract.labels, volume, preprocessing.modality === "picture") };
}

/** Round numbers as the core does. */
function rounded({ numbers, decimals }: { numbers: number[]; decimals: number }): number[] {
  return numbers.map((number) => roundTo(number, decimals));
}

function arrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}

const [kind, jobPath, wasm] = process.argv.slice(2) as [string, string, string];
const job = JSON.parse(await readFile(jobPath, "utf8")) as unknown;
const kinds: Record<string, (job: never) => unknown> = {
  segment: async (given: Job) => segmentAll(given, await network(given.model, wasm)),
  soak: async (given: SoakJob) => soak(given, await network(given.model, wasm)),
  vectors: stages,
  rounded,
};
const answer = await kinds[kind]!(job as never);
process.stdout.write(`${JSON.stringify(answer)}\n`);
