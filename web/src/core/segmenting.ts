// A scan goes in, a mask comes out, slice by slice; the network computes elsewhere.

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
import { gridOf, intensityRanges, networkInputs, type Grid } from "./preprocessing";
import { sizesOf, type Sizes } from "./sizes";
import { readSlice, reoriented, visitLabelled, type Layout, type Volume } from "./volume";

/** A scan as any reader gives it. */
export interface Scan {
  volume: Volume;
  format: string; // "NIfTI", "DICOM" or "picture"
  modality: string | null;
  remarks: string[];
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

/** Segment a scan.
 *
 * Raises ContractError where it does not fit the contract, or nothing of its mask is plausible, unless forced.
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
  const problems = violations(upright, contract, scan.modality, scan.format);
  if (problems.length && !options.force) {
    throw new ContractError(`${volume.source}: refused: ${problems.join("; ")}`, true);
  }
  const seen: Seen = {
    upright,
    grid: gridOf(upright, contract.preprocessing),
    ranges: intensityRanges(upright, contract.preprocessing),
  };
  const classes = contract.labels.labels.length + 1;
  const certainty = new Certainty(classes, seen.grid.outputSize);
  const collector =
    contract.plausibility && new FigureCollector(seen.grid, contract.preprocessing, classes, certainty);
  const mask = new Uint8Array(volume.shape[0] * volume.shape[1] * volume.shape[2]);
  const components = new Components(upright);
  await labelAll(mask, seen, contract, network, { certainty, collector, components }, options);
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
  return summarised(scan, contract, seen, mask, found);
}

/** What segmenting and judging share of a scan. */
interface Seen {
  upright: Volume;
  grid: Grid;
  ranges: [number, number][];
}

/** What looks at every slice. */
interface Watching {
  certainty: Certainty;
  collector: FigureCollector | null;
  components: Components;
}

/** Put the labels of all slices into a mask, as many slices at a time as the network has streams. */
async function labelAll(
  mask: Uint8Array,
  { upright, grid, ranges }: Seen,
  contract: Contract,
  network: Network,
  { certainty, collector, components }: Watching,
  options: Options,
): Promise<void> {
  const classes = contract.labels.labels.length + 1;
  let done = 0;
  const label = async (index: number, input: Float32Array) => {
    const logits = await network.run(input);
    checkFinite(logits, network.source, network.title);
    const labels = labelSlice(logits, classes, grid);
    components.add(mask, index, labels);
    certainty.see(index, logits);
    collector?.see(index, input);
    collector?.put(index, labels);
    options.onProgress?.(++done, upright.shape[0]);
  };
  const pending = new Set<Promise<void>>();
  const failures: unknown[] = [];
  let index = 0;
  for (const input of networkInputs(upright, contract.preprocessing, ranges, grid)) {
    if (options.isCancelled?.()) failures.push(new Cancelled("cancelled"));
    if (failures.length) break;
    const task = label(index++, input)
      .catch((error: unknown) => void failures.push(error))
      .finally(() => pending.delete(task));
    pending.add(task);
    if (pending.size > network.streams) await Promise.race(pending);
  }
  await Promise.all(pending);
  if (options.isCancelled?.()) failures.unshift(new Cancelled("cancelled"));
  if (failures.length) throw failures[0];
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
