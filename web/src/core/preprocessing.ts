// From a scan to the network's input, sections 2 to 4 of docs/contract.md.

import { FileFormatError } from "./errors";
import { outputSize, type FieldOfView, type Preprocessing, type Range } from "./manifest";
import { nearestWhole, quantileOfSorted, roundHalfEven } from "./numbers";
import { alongColumns, alongRows, enlarging, reducing, type Bands, type Enlarging } from "./resampling";
import { allNumbers, readSlice, spacingOf, type Layout, type Table, type Volume, type Voxels } from "./volume";

const CT_WINDOW_HU: Range = [-125, 275];
const MOST_PIXELS = 8192;
const BODY_HU = -500;
const BODY_SHARE = 0.01;

/** The part of an axis from `begin` to `end`. */
export interface Span {
  begin: number;
  end: number;
}

/** The mapping between a slice's own grid and the network's grids over its square field of view. */
export interface Grid {
  shape: [number, number];
  size: number;
  outputSize: number;
  reduceRows: Bands;
  reduceColumns: Bands;
  enlargeRows: Enlarging;
  enlargeColumns: Enlarging;
  seen: [Span, Span];
}

/** Return the intensities that become 0 and 1, for each channel of an upright volume. */
export function intensityRanges(volume: Volume, preprocessing: Preprocessing): Range[] {
  const { percentiles, deviations, ranges, window_hu } = preprocessing;
  const { slope, intercept } = volume;
  if (percentiles !== null) {
    const wanted = slope > 0 ? percentiles : percentiles.map((percentile) => 100 - percentile);
    return volume.channels.map((_, channel) => {
      const sorted = sampledNumbers(volume, channel).sort();
      return wanted.map((percent) => quantileOfSorted(sorted, percent / 100) * slope + intercept) as Range;
    });
  }
  if (deviations !== null) {
    return volume.channels.map((_, channel) => {
      const [mean, deviation] = meanAndDeviation(sampledNumbers(volume, channel));
      const middle = mean * slope + intercept;
      const reach = deviations * deviation * Math.abs(slope);
      return [middle - reach, middle + reach];
    });
  }
  return ranges ?? volume.channels.map(() => window_hu ?? CT_WINDOW_HU);
}

/** Return the stored numbers of a channel that its range is measured on: about a million, without zeros. */
function sampledNumbers(volume: Volume, channel: number): Float64Array {
  const [slices, rows, columns] = volume.shape;
  const step = Math.max(1, roundHalfEven(Math.sqrt((slices * rows * columns) / 1_000_000)));
  const numbers = new Float64Array(slices * Math.ceil(rows / step) * Math.ceil(columns / step));
  const voxels = volume.channels[channel]!;
  let count = 0;
  let nonzero = 0;
  for (let index = 0; index < slices; index++) {
    for (let row = 0; row < rows; row += step) {
      let from = volume.offset + index * volume.strides[0] + row * volume.strides[1];
      for (let column = 0; column < columns; column += step, from += step * volume.strides[2]) {
        const value = voxels[from]!;
        count++;
        if (value !== 0) numbers[nonzero++] = value;
      }
    }
  }
  return nonzero ? numbers.subarray(0, nonzero) : numbers.subarray(0, count); // zeros alone are all 0
}

function meanAndDeviation(numbers: Float64Array): [number, number] {
  let sum = 0;
  for (const value of numbers) sum += value;
  const mean = sum / numbers.length;
  let squares = 0;
  for (const value of numbers) squares += (value - mean) ** 2;
  return [mean, Math.sqrt(squares / numbers.length)];
}

/** Return the rows and columns, of all slices, that a network looks at. */
export function seenPart(volume: Volume, kind: FieldOfView): [Span, Span] {
  const [slices, rows, columns] = volume.shape;
  const whole: [Span, Span] = [
    { begin: 0, end: rows },
    { begin: 0, end: columns },
  ];
  if (kind === "slice") return whole;
  const inRow = new Float64Array(rows);
  const inColumn = new Float64Array(columns);
  const threshold = (BODY_HU - volume.intercept) / volume.slope;
  const counts = (value: number) =>
    kind === "nonzero" ? value !== 0 : volume.slope > 0 ? value > threshold : value < threshold;
  const planes = volume.channels.map(() => new Float64Array(rows * columns));
  for (let index = 0; index < slices; index++) {
    planes.forEach((plane, channel) => readSlice(volume.channels[channel]!, volume, index, plane));
    for (let row = 0, place = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++, place++) {
        if (planes.some((plane) => counts(plane[place]!))) {
          inRow[row]!++;
          inColumn[column]!++;
        }
      }
    }
  }
  const share = kind === "body" ? BODY_SHARE * slices : 0;
  return [endsOf(inRow, share * columns), endsOf(inColumn, share * rows)];
}

function endsOf(counts: Float64Array, more: number): Span {
  const begin = counts.findIndex((count) => count > more);
  if (begin < 0) return { begin: 0, end: counts.length };
  return { begin, end: counts.findLastIndex((count) => count > more) + 1 };
}

/** Make the grid that all slices of an upright volume share. */
export function gridOf(volume: Volume, preprocessing: Preprocessing): Grid {
  const shape: [number, number] = [volume.shape[1], volume.shape[2]];
  const all = spacingOf(volume.affine);
  const spacing: [number, number] = [all[1], all[2]];
  const part = seenPart(volume, preprocessing.field_of_view);
  const fieldMm = volume.spacingKnown ? preprocessing.field_mm : null;
  const held = part.map((along) => along.end - along.begin);
  const side = fieldMm ?? Math.max(...held.map((length, axis) => length * spacing[axis]!));
  const size = preprocessing.image_size;
  const output = outputSize(preprocessing);
  const axes = ([0, 1] as const).map((axis) => {
    const least = fieldMm === null ? held[axis]! : 1;
    const padded = Math.max(least, nearestWhole(Math.min(side / spacing[axis], 2 * MOST_PIXELS)));
    if (padded > MOST_PIXELS) throw new FileFormatError(tooLarge(volume.source, spacing));
    const first = part[axis].begin - Math.floor((padded - held[axis]!) / 2);
    const seen = { begin: Math.max(0, first), end: Math.min(shape[axis], first + padded) };
    const [begin, end] = [seen.begin - first, seen.end - first];
    return {
      seen,
      reduce: reducing(preprocessing.interpolation, padded, size, begin, end),
      enlarge: enlarging(output, padded, begin, end),
    };
  });
  const [rows, columns] = axes as [(typeof axes)[0], (typeof axes)[0]];
  return {
    shape,
    size,
    outputSize: output,
    reduceRows: rows.reduce,
    reduceColumns: columns.reduce,
    enlargeRows: rows.enlarge,
    enlargeColumns: columns.enlarge,
    seen: [rows.seen, columns.seen],
  };
}

function tooLarge(source: string, spacing: [number, number]): string {
  const [rows, columns] = spacing.map((length) => Number(length.toPrecision(3)));
  return (
    `${source}: the field of view of a slice has more than ${MOST_PIXELS.toLocaleString("en-US")} pixels along a ` +
    `side, of ${rows} x ${columns} mm; repair the spacing or crop the scan`
  );
}

const scratches = new Map<string, Float32Array>();

/** Return memory that is taken once, for numbers that no one keeps. */
function scratch(name: string, length: number): Float32Array {
  let found = scratches.get(name);
  if (found?.length !== length) scratches.set(name, (found = new Float32Array(length)));
  return found;
}

/** Resize a slice of intensities, normalised to 0..1, to (S, S); outside the slice is 0. */
export function reducedSlice(volume: Volume, channel: number, index: number, range: Range, grid: Grid): Float32Array {
  const [down, across] = grid.seen;
  const seen: Layout = {
    shape: [volume.shape[0], down.end - down.begin, across.end - across.begin],
    strides: volume.strides,
    offset: volume.offset + down.begin * volume.strides[1] + across.begin * volume.strides[2],
  };
  const part = scratch("part", seen.shape[1] * seen.shape[2]);
  const voxels = volume.channels[channel]!;
  const table = normalisedNumbers(voxels, volume, range);
  readSlice(voxels, seen, index, part, table);
  if (!table) normalise(part, volume, range);
  const reduced = scratch("reduced", grid.size * seen.shape[2]);
  alongRows(grid.reduceRows, part, seen.shape[2], reduced);
  return alongColumns(grid.reduceColumns, reduced, grid.size);
}

/** Turn stored numbers into intensities (HU for a CT), and these into shares of the range, held between 0 and 1. */
function normalise(numbers: Float32Array, { slope, intercept }: Volume, range: Range): void {
  const f = Math.fround;
  const [by, to, low, high] = [f(slope), f(intercept), f(range[0]), f(range[1])];
  const width = high > low ? f(high - low) : 1;
  for (let place = 0; place < numbers.length; place++) {
    const value = f(f(f(f(numbers[place]! * by) + to) - low) / width);
    numbers[place] = value < 0 ? 0 : value > 1 ? 1 : value;
  }
}

const tables = new WeakMap<Voxels, Table & { range: Range }>(); // of the last range of each channel

/** Return what becomes of every number that a channel can hold; null where a table of them would be large. */
function normalisedNumbers(voxels: Voxels, volume: Volume, range: Range): Table | null {
  const known = tables.get(voxels);
  if (known?.range === range) return known;
  const made = allNumbers(voxels);
  if (!made) return null;
  normalise(made.becomes, volume, range);
  tables.set(voxels, { ...made, range });
  return made;
}

/** Return the step between context slices of an upright volume, in slices. */
export function contextStep(volume: Volume, preprocessing: Preprocessing): number {
  if (preprocessing.context_mm === null || preprocessing.context_slices === 1 || !volume.spacingKnown) return 1;
  return Math.max(1, nearestWhole(preprocessing.context_mm / spacingOf(volume.affine)[0]));
}

/** Yield the network's input for every slice of an upright volume: (context x channels, S, S) in [-1, 1]. */
export function* networkInputs(
  volume: Volume,
  preprocessing: Preprocessing,
  ranges: Range[],
  grid: Grid,
): Generator<Float32Array> {
  const last = volume.shape[0] - 1;
  const pixels = grid.size * grid.size;
  const channels = volume.channels.length;
  const ready = new Map<number, Float32Array>();
  const reach = Math.floor(preprocessing.context_slices / 2);
  const step = contextStep(volume, preprocessing);
  const prepared = (index: number) => {
    const made = new Float32Array(channels * pixels);
    for (let channel = 0; channel < channels; channel++) {
      const reduced = reducedSlice(volume, channel, index, ranges[channel]!, grid);
      for (let place = 0; place < pixels; place++) {
        made[channel * pixels + place] = Math.fround(reduced[place]! - 0.5) / 0.5;
      }
    }
    return made;
  };
  for (let index = 0; index <= last; index++) {
    const input = new Float32Array(preprocessing.context_slices * channels * pixels);
    for (let offset = -reach; offset <= reach; offset++) {
      const neighbour = Math.min(Math.max(index + offset * step, 0), last);
      if (!ready.has(neighbour)) ready.set(neighbour, prepared(neighbour));
      input.set(ready.get(neighbour)!, (offset + reach) * channels * pixels);
    }
    yield input;
    ready.delete(index - reach * step); // no later slice needs it
  }
}
