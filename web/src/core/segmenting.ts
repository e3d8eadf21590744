// A scan goes in, a mask comes out, slice by slice; the network computes elsewhere.

import type { Arrival } from "./arrival";
import { Components } from "./components";
import { checkChannels, violations } from "./contract";
import { Cancelled, ContractError } from "./errors";
import { Certainty, FigureCollector } from "./figures";
import { doubts } from "./fingerprint";
import { checkFinite, labelSlice } from "./labelling";
import { smallestShares, type Contract } from "./manifest";
import { brightnessOf, type Brightness } from "./measuring";
import { roundTo } from "./numbers";
import { judge, warningsOf, type Judgement } from "./plausibility";
import { gridOf, intensityRanges, needsAllVoxels, networkInputs, reachOf, type Grid } from "./preprocessing";
import { sizesOf, type Sizes } from "./sizes";
import { placesBefore, readSlice, reoriented, visitLabelled, type Layout, type Volume } from "./volume";

/** A scan as any reader gives it. */
export interface Scan {
  volume: Volume;
  format: string; // "NIfTI", "DICOM" or "picture"
  modality: string | null;
  remarks: string[];
  arrival: Arrival; // of the voxels; the rest stands in the header
}

/** The network: (context x channels, S, S) in, (K, T, T) out; `streams` calls at the same time are worth while. */
export interface Network {
  run(input: Float32Array): Promise<Float32Array>;
  streams: number;
  title: string;
  source: string;
}

export interface Options {
  force?: boolean;
  onProgress?: (done: number, total: number) => void;
  isCancelled?: () => boolean;
}

export interface Segmented extends Sizes {
  mask: Uint8Array; // in the layout of the scan's array
  forced: boolean;
  warnings: string[];
  cutOff: string[];
  judgement: Judgement | null;
  brightness: Record<string, Record<string, Brightness> | null>;
  meanProbability: Record<string, number | null>;
  ranges: [number, number][];
}

/** Segment a scan, from its first slices on, while the others are still being read.
 *
 * Raises FileFormatError where it cannot be read; ContractError where it does not fit the contract, or nothing of its
 * mask is plausible, unless forced.
 */
export async function segment(
  scan: Scan,
  contract: Contract,
  network: Network,
  options: Options = {},
): Promise<Segmented> {
  const { volume } = scan;
  checkChannels(volume, contract);
  const upright = reoriented(volume, contract.preprocessing.orientation);
  let isRefused = false;
  const isStopped = () => isRefused || (options.isCancelled?.() ?? false);
  const labelling = labelled(scan, upright, contract, network, { onProgress: options.onProgress, isStopped });
  labelling.catch(() => undefined); // which is told below, behind what is wrong with the scan
  const { late, problems } = await checkedWhole(scan, upright, contract, options).catch(async (error: unknown) => {
    isRefused = true;
    await labelling.catch(() => undefined);
    throw error;
  });
  const { mask, seen, certainty, collector, components } = await labelling;
  const shares = smallestShares(contract);
  for (const changed of components.removeSmall(mask, shares)) {
    const slice = new Uint8Array(upright.shape[1] * upright.shape[2]);
    collector?.put(changed, readSlice(mask, upright, changed, slice));
  }
  const { counts, atBorder } = countsOf(mask, upright);
  const figures = collector?.figures(upright, counts, atBorder);
  const judgement = figures ? judge(contract.plausibility!, figures, contract.labels.labels) : null;
  const implausible = nothingPlausible(judgement);
  if (implausible.length && !options.force) {
    throw new ContractError(`${volume.source}: refused: ${implausible[0]}`, true);
  }
  const found = { problems: [...problems, ...implausible], judgement, counts, atBorder, means: certainty.means() };
  return summarised({ ...scan, remarks: [...scan.remarks, ...late] }, contract, seen, mask, found);
}

/** Wait for all voxels; return what only the end of the file told, and what a forced scan violates. */
async function checkedWhole(
  scan: Scan,
  upright: Volume,
  contract: Contract,
  { force }: Options,
): Promise<{ late: string[]; problems: string[] }> {
  const late = await scan.arrival.whole;
  const problems = violations(upright, contract, scan.modality, scan.format);
  if (problems.length && !force) {
    throw new ContractError(`${scan.volume.source}: refused: ${problems.join("; ")}`, true);
  }
  return { late, problems };
}

/** What segmenting and judging share of a scan. */
interface Seen {
  upright: Volume;
  grid: Grid;
  ranges: [number, number][];
}

/** A mask before small components are removed, and what has looked at every slice. */
interface Labelled {
  mask: Uint8Array;
  seen: Seen;
  certainty: Certainty;
  collector: FigureCollector | null;
  components: Components;
}

/** Label all slices as soon as their voxels are there, as many at a time as the network has streams. */
async function labelled(
  { arrival }: Scan,
  upright: Volume,
  contract: Contract,
  network: Network,
  { onProgress, isStopped }: { onProgress: Options["onProgress"]; isStopped: () => boolean },
): Promise<Labelled> {
  const { preprocessing } = contract;
  if (needsAllVoxels(preprocessing)) await arrival.whole;
  const grid = gridOf(upright, preprocessing);
  const ranges = intensityRanges(upright, preprocessing);
  const classes = contract.labels.labels.length + 1;
  const certainty = new Certainty(classes, grid.outputSize);
  const collector = contract.plausibility && new FigureCollector(grid, preprocessing, classes, certainty);
  const slices = upright.shape[0];
  const mask = new Uint8Array(slices * upright.shape[1] * upright.shape[2]);
  const components = new Components(upright);
  let done = 0;
  const label = async (index: number, input: Float32Array) => {
    const logits = await network.run(input);
    checkFinite(logits, network.source, network.title);
    const labels = labelSlice(logits, classes, grid);
    components.add(mask, index, labels);
    certainty.see(index, logits);
    collector?.see(index, input);
    collector?.put(index, labels);
    onProgress?.(++done, slices);
  };
  const pending = new Set<Promise<void>>();
  const failures: unknown[] = [];
  const inputs = networkInputs(upright, preprocessing, ranges, grid);
  const reach = reachOf(upright, preprocessing);
  for (let index = 0; index < slices; index++) {
    const needed = placesBefore(upright, Math.min(index + reach + 1, slices));
    await arrival.until(needed).catch((error: unknown) => failures.push(error));
    if (isStopped()) failures.push(new Cancelled("cancelled"));
    if (failures.length) break;
    const task = label(index, inputs.next().value as Float32Array)
      .catch((error: unknown) => void failures.push(error))
      .finally(() => pending.delete(task));
    pending.add(task);
    if (pending.size > network.streams) await Promise.race(pending);
  }
  await Promise.all(pending);
  if (isStopped()) failures.unshift(new Cancelled("cancelled"));
  if (failures.length) throw failures[0];
  return { mask, seen: { upright, grid, ranges }, certainty, collector, components };
}

interface Found {
  problems: string[];
  judgement: Judgement | null;
  counts: number[];
  atBorder: boolean[];
  means: (number | null)[];
}

function summarised(scan: Scan, contract: Contract, seen: Seen, mask: Uint8Array, found: Found): Segmented {
  const { problems, judgement, counts, atBorder, means } = found;
  const names = contract.labels.labels;
  const cutOff = names.filter((each) => atBorder[each.id]).map((each) => each.name);
  const border = cutOff.length ? [`at the border of the scan, perhaps cut off: ${cutOff.join(", ")}`] : [];
  return {
    mask,
    forced: problems.length > 0,
    warnings: [
      ...problems,
      ...scan.remarks,
      ...doubts(seen.upright, contract, seen.ranges, seen.grid),
      ...border,
      ...(judgement ? warningsOf(judgement) : []),
    ],
    cutOff,
    judgement,
    ...sizesOf(counts, contract.labels, scan.volume, scan.format === "picture"),
    brightness: brightnessOf(scan.volume, mask, counts, contract),
    meanProbability: Object.fromEntries(
      names.map(({ name, id }) => [name, counts[id] && means[id] != null ? roundTo(means[id], 4) : null]),
    ),
    ranges: seen.ranges,
  };
}

function nothingPlausible(judgement: Judgement | null): string[] {
  if (!judgement?.nothing_plausible) return [];
  const reasons = Object.entries(judgement.implausible).map(([name, found]) => `${name}: ${found[0]}`);
  const what = "nothing in the mask is plausible, so the scan seems to show something else";
  return [`${what} (${reasons.join("; ")})`];
}

/** Return how many voxels have each label, and whether one of them lies in a first or last plane of any axis. */
function countsOf(mask: Uint8Array, layout: Layout): { counts: number[]; atBorder: boolean[] } {
  const counts = new Array<number>(256).fill(0);
  const labelled = new Float64Array(256);
  visitLabelled(mask, (_, label) => labelled[label]!++);
  labelled.forEach((count, label) => (counts[label] = count));
  counts[0] = mask.length - labelled.reduce((sum, count) => sum + count, 0);
  const atBorder = new Array<boolean>(256).fill(false);
  layout.shape.forEach((length, axis) => {
    if (length === 1) return;
    const [first, second] = [0, 1, 2].filter((other) => other !== axis) as [number, number];
    for (const plane of [0, length - 1]) {
      const from = layout.offset + plane * layout.strides[axis]!;
      for (let i = 0; i < layout.shape[first]!; i++) {
        for (let j = 0; j < layout.shape[second]!; j++) {
          atBorder[mask[from + i * layout.strides[first]! + j * layout.strides[second]!]!] = true;
        }
      }
    }
  });
  return { counts, atBorder };
}
