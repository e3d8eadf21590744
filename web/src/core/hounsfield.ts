// Whether a scan is a CT in Hounsfield units, decided from how its voxels are distributed; as `embedded-vit predict`.

import { evenlySpaced, general, roundHalfEven } from "./numbers";
import { readSlice, type Volume } from "./volume";

const SAMPLED_SLICES = 32;
const SAMPLED_PIXELS = 2 ** 13;
const LOWEST_HU = -1024;
const LONE_GAP_HU = 50;
const PADDING_VALUES = 3;
const DARKER_THAN_AIR_HU = -1200;
const MOST_DARKER = 0.25;
const FAT_OR_DARKER_HU = -50;
const FAT_HU = [-200, -30] as const;
const SOFT_TISSUE_HU = [-150, 300] as const;
const TISSUE_HU = [-150, 850] as const;
const RAW_TISSUE = [850, 1300] as const;
const LEAST_SHARE = 0.005;
const FEW = 0.01;
const MOST_BONE = 0.2;
const FEWEST_NUMBERS = 8;
const NARROWEST_HU = 15;

/** Return why a scan cannot be in HU, a sentence for each channel; none where it may be. */
export function hounsfieldProblems(upright: Volume, channelNames: string[]): string[] {
  const several = upright.channels.length > 1;
  return upright.channels.flatMap((_, channel) => {
    if (several && !(channelNames[channel] ?? "").toUpperCase().includes("CT")) return [];
    const reason = reasonAgainst(sampled(upright, channel));
    return reason ? [`a CT in HU is expected, but ${reason}`] : [];
  });
}

/** Return evenly spaced intensities of a channel, sorted. */
function sampled(volume: Volume, channel: number): Float32Array {
  const [slices, rows, columns] = volume.shape;
  const step = Math.max(1, roundHalfEven(Math.sqrt((rows * columns) / SAMPLED_PIXELS)));
  const chosen = evenlySpaced(slices, SAMPLED_SLICES);
  const [high, wide] = [Math.ceil(rows / step), Math.ceil(columns / step)];
  const values = new Float32Array(chosen.length * high * wide);
  const { strides } = volume;
  const coarse = { ...volume, strides: [strides[0], strides[1] * step, strides[2] * step] as Volume["strides"] };
  coarse.shape = [slices, high, wide];
  const [slope, intercept] = [Math.fround(volume.slope), Math.fround(volume.intercept)];
  chosen.forEach((index, place) => {
    const plane = values.subarray(place * high * wide, (place + 1) * high * wide);
    readSlice(volume.channels[channel]!, coarse, index, plane);
    for (let at = 0; at < plane.length; at++) plane[at] = Math.fround(plane[at]! * slope) + intercept;
  });
  return values.sort();
}

/** Return the first place in sorted values that is not below a value. */
function placeOf(sorted: Float32Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function share(sorted: Float32Array, low: number, high: number): number {
  return sorted.length ? (placeOf(sorted, high) - placeOf(sorted, low)) / sorted.length : 0;
}

function shareOfValue(sorted: Float32Array, value: number): number {
  let place = placeOf(sorted, value);
  const begin = place;
  while (place < sorted.length && sorted[place] === value) place++;
  return (place - begin) / sorted.length;
}

function reasonAgainst(sorted: Float32Array): string | null {
  const darker = sorted.subarray(0, placeOf(sorted, DARKER_THAN_AIR_HU));
  if (darker.length > MOST_DARKER * sorted.length) {
    if (darker.length - mostFrequent(darker) > MOST_DARKER * sorted.length) {
      const percent = ((100 * darker.length) / sorted.length).toFixed(0);
      return `${percent} % of it is below ${DARKER_THAN_AIR_HU}, darker than air`;
    }
  }
  const values = withoutPadding(sorted);
  if (share(values, ...TISSUE_HU) < LEAST_SHARE) {
    return `less than ${general(100 * LEAST_SHARE)} % of it lies between ${between(TISSUE_HU)}, where tissue lies`;
  }
  const [fat, raw] = [share(values, ...FAT_HU), share(values, ...RAW_TISSUE)];
  const dark = share(values, -Infinity, FAT_HU[1]);
  const lessDense = share(values, SOFT_TISSUE_HU[1], RAW_TISSUE[0]);
  if (raw > Math.max(FEW, dark, 2 * fat, lessDense)) {
    return (
      `${(100 * raw).toFixed(0)} % of it lies between ${between(RAW_TISSUE)}, where bone is rare and where tissue ` +
      "lies when the intercept of -1024 is lost"
    );
  }
  const end = Math.floor(values.length / 100);
  const [low, high] = [values[end]!, values[values.length - 1 - end]!];
  const atEnds = Math.max(shareOfValue(values, 0), shareOfValue(values, 255));
  if (low >= 0 && high <= 255 && high - low >= NARROWEST_HU && atEnds > 0.05) {
    return "its numbers run from 0 to 255, as those of a picture do";
  }
  if (share(values, -Infinity, FAT_OR_DARKER_HU) >= FEW) return null;
  return reasonAgainstCrop(values, low, high);
}

/** As `reasonAgainst`, for a volume without fat and air, as a crop out of an organ is. */
function reasonAgainstCrop(values: Float32Array, low: number, high: number): string | null {
  const lowest = values[0]!;
  const mostBone = lowest >= 0 ? FEW : MOST_BONE;
  const clipped = shareOfValue(values, lowest);
  if (high - low < NARROWEST_HU || clipped > FEW || share(values, ...SOFT_TISSUE_HU) < 1 - mostBone) {
    return `nothing here is below ${general(lowest, 4)}: no fat, no air`;
  }
  return null;
}

/** Return how many of sorted values are one of the three most frequent numbers. */
function mostFrequent(sorted: Float32Array): number {
  const counts: number[] = [];
  for (let place = 0; place < sorted.length; ) {
    const begin = place;
    while (place < sorted.length && sorted[place] === sorted[begin]) place++;
    counts.push(place - begin);
  }
  counts.sort((one, other) => other - one);
  return counts.slice(0, PADDING_VALUES).reduce((sum, count) => sum + count, 0);
}

function withoutPadding(sorted: Float32Array): Float32Array {
  let from = 0;
  while (from < sorted.length && sorted[from]! <= LOWEST_HU) from++;
  let values = sorted.subarray(from);
  for (let round = 0; round < PADDING_VALUES && values.length; round++) {
    let next = 0;
    while (next < values.length && values[next] === values[0]) next++;
    const rest = values.subarray(next);
    if (!rest.length || rest[0]! - values[0]! < LONE_GAP_HU || differentNumbers(rest) < FEWEST_NUMBERS) break;
    values = rest;
  }
  return values;
}

/** Count different numbers among sorted values, as far as `FEWEST_NUMBERS`. */
function differentNumbers(sorted: Float32Array): number {
  let count = sorted.length ? 1 : 0;
  for (let place = 1; place < sorted.length && count < FEWEST_NUMBERS; place++) {
    if (sorted[place] !== sorted[place - 1]) count++;
  }
  return count;
}

function between(ends: readonly [number, number]): string {
  return `${ends[0]} and ${ends[1]}`;
}
