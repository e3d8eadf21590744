// Where the structures of a mask lie in the body and how sure the network is of them, gathered slice by slice.

import type { Axis, Modality, Preprocessing } from "./manifest";
import type { Grid } from "./preprocessing";
import { determinant3, spacingOf, type Volume } from "./volume";

const SAMPLED_PIXELS = 128;
const SAMPLED_LOGITS = 64;
const SURE_EVERY = 2;
const BODY: Record<Modality, number> = { CT: -0.95, MR: -0.8, picture: -1 };
const BOX_DEVIATIONS = 2;
const CROPPED_SHARE = 0.82;
export const AXES: readonly Axis[] = ["superior", "left", "posterior"];
const LETTERS: Record<Axis, [string, string]> = { superior: ["S", "I"], left: ["L", "R"], posterior: ["P", "A"] };

/** One structure of one mask; see embedded_vit.mask_figures. */
export interface StructureFigures {
  volume: number;
  place: Partial<Record<Axis, number>>;
  share: number;
  centre: Record<Axis, number>;
  confidence: number | null;
  atBorder: boolean;
}

export interface MaskFigures {
  structures: Map<number, StructureFigures>;
  inMl: boolean;
  cropped: boolean;
  heightMm: number | null;
}

interface Labelled {
  area: Float64Array; // of each class
  row: Float64Array; // its mean
  column: Float64Array;
}

/** Return which array axis runs along an axis of the body, and whether it grows in the direction of its name. */
export function arrayAxis(codes: string, axis: Axis): [number, boolean] {
  const [along, against] = LETTERS[axis];
  return codes.includes(along) ? [codes.indexOf(along), true] : [codes.indexOf(against), false];
}

/** How sure a network is: the mean probability of the pixels that each class wins, on the network's own grid. */
export class Certainty {
  private readonly sure = new Map<number, Float64Array[]>(); // of a slice: pixels, sum of their probabilities

  constructor(
    private readonly classes: number,
    private readonly size: number,
  ) {}

  /** Look at a slice's output, (K, T, T). */
  see(index: number, logits: Float32Array): void {
    if (index % SURE_EVERY === 0) this.sure.set(index, certainty(logits, this.classes, this.size));
  }

  /** Return the mean of each class, background first; null where no pixel of it was looked at. */
  means(): (number | null)[] {
    return Array.from({ length: this.classes }, (_, number) => {
      let [pixels, probability] = [0, 0];
      for (const [won, sum] of this.sure.values() as Iterable<Float64Array[]>) {
        pixels += won![number]!;
        probability += sum![number]!;
      }
      return pixels ? probability / pixels : null;
    });
  }
}

export class FigureCollector {
  private readonly step: number;
  private readonly rows: number[]; // of sampled pixels, in shares of the network's grid
  private readonly columns: number[];
  private readonly pixel: number;
  private readonly labelled = new Map<number, Labelled>();
  private readonly bodies = new Map<number, number[]>(); // area; first and last row; then column

  constructor(
    private readonly grid: Grid,
    private readonly preprocessing: Preprocessing,
    private readonly classes: number,
    private readonly certainty: Certainty, // which sees the same slices
  ) {
    this.step = Math.max(1, Math.ceil(Math.max(...grid.shape) / SAMPLED_PIXELS));
    const places = [grid.enlargeRows.place, grid.enlargeColumns.place];
    this.pixel = places.reduce(
      (area, place) => area * Math.abs((place.at(-1)! - place[0]!) / Math.max(place.length - 1, 1)),
      1,
    );
    const sampled = places.map((place, axis) => {
      const { begin } = grid.seen[axis]!;
      const found: number[] = [];
      for (let at = 0; at < grid.shape[axis]!; at += this.step) {
        found.push(place[Math.min(Math.max(at - begin, 0), place.length - 1)]!);
      }
      return found;
    });
    [this.rows, this.columns] = sampled as [number[], number[]];
  }

  /** Look at a slice's network input, (C, S, S). */
  see(index: number, image: Float32Array): void {
    const { modality, channels, context_slices } = this.preprocessing;
    const size = this.grid.size;
    const from = Math.floor(context_slices / 2) * channels.length * size * size;
    const body = BODY[modality];
    const alongRows = new Float64Array(size);
    const alongColumns = new Float64Array(size);
    let area = 0;
    for (let row = 0, place = from; row < size; row++) {
      for (let column = 0; column < size; column++, place++) {
        if (image[place]! <= body) continue;
        alongRows[row]!++;
        alongColumns[column]!++;
        area++;
      }
    }
    if (area) {
      const ends = [...endsOf(alongRows, area), ...endsOf(alongColumns, area)];
      this.bodies.set(index, [area / (size * size), ...ends]);
    }
  }

  /** Take a finished slice, (rows, columns); a slice that changes later is put again. */
  put(index: number, labels: Uint8Array): void {
    const made: Labelled = {
      area: new Float64Array(this.classes),
      row: new Float64Array(this.classes),
      column: new Float64Array(this.classes),
    };
    let any = false;
    this.rows.forEach((rowPlace, row) => {
      let at = row * this.step * this.grid.shape[1];
      for (const columnPlace of this.columns) {
        const number = labels[at]!;
        at += this.step;
        if (!number) continue;
        any = true;
        made.area[number]!++;
        made.row[number]! += rowPlace;
        made.column[number]! += columnPlace;
      }
    });
    if (!any) {
      this.labelled.delete(index);
      return;
    }
    for (let number = 1; number < this.classes; number++) {
      const count = made.area[number]!;
      if (!count) continue;
      made.row[number]! /= count;
      made.column[number]! /= count;
      made.area[number] = count * this.step ** 2 * this.pixel;
    }
    this.labelled.set(index, made);
  }

  /** Return the figures of the whole mask, whose slices all were seen and put. */
  figures(upright: Volume, counts: number[], atBorder: boolean[]): MaskFigures {
    const known = upright.spacingKnown;
    const voxelMl = known ? Math.abs(determinant3(upright.affine)) / 1000 : 1;
    const [upwards] = arrayAxis(this.preprocessing.orientation, "superior");
    const heightMm = known ? spacingOf(upright.affine)[upwards]! * upright.shape[upwards]! : null;
    const indices = [...this.labelled.keys()].filter((index) => this.bodies.has(index)).sort((a, b) => a - b);
    const structures = new Map<number, StructureFigures>();
    const sure = this.certainty.means();
    if (!indices.length) return { structures, inMl: known, cropped: false, heightMm };
    for (let number = 1; number < this.classes; number++) {
      const found = this.structure(number, indices, upright.shape[0]);
      if (!counts[number] || !found) continue;
      const confidence = sure[number]!;
      structures.set(number, { ...found, volume: counts[number]! * voxelMl, confidence, atBorder: atBorder[number]! });
    }
    const sliceArea = this.pixel * this.grid.shape[0] * this.grid.shape[1];
    const bodyArea = indices.reduce((sum, index) => sum + this.bodies.get(index)![0]!, 0) / indices.length;
    return { structures, inMl: known, cropped: bodyArea > CROPPED_SHARE * sliceArea, heightMm };
  }

  private structure(number: number, indices: number[], slices: number): StructureFigures | null {
    let total = 0;
    let share = 0;
    const centre = [0, 0, 0];
    const inBox = [0, 0];
    for (const index of indices) {
      const { area: areas, row, column } = this.labelled.get(index)!;
      const [bodyArea, top, bottom, left, right] = this.bodies.get(index)! as [number, number, number, number, number];
      const area = areas[number]!;
      total += area;
      share = Math.max(share, area / bodyArea);
      [(index + 0.5) / slices, row[number]!, column[number]!].forEach((at, axis) => (centre[axis]! += area * at));
      inBox[0]! += (area * (row[number]! - top)) / Math.max(bottom - top, 1e-3);
      inBox[1]! += (area * (column[number]! - left)) / Math.max(right - left, 1e-3);
    }
    if (!total) return null;
    const place = this.alongBody([null, inBox[0]! / total, inBox[1]! / total]);
    const towards = this.alongBody(centre.map((at) => at / total)) as Record<Axis, number>;
    return { volume: 0, place, share, centre: towards, confidence: null, atBorder: false };
  }

  /** Turn shares along (slices, rows, columns) to shares along the axes of the body. */
  private alongBody(places: (number | null)[]): Partial<Record<Axis, number>> {
    const found: Partial<Record<Axis, number>> = {};
    for (const axis of AXES) {
      const [number, forwards] = arrayAxis(this.preprocessing.orientation, axis);
      const at = places[number];
      if (at !== null && at !== undefined) found[axis] = forwards ? at : 1 - at;
    }
    return found;
  }
}

/** Return where the body's box begins and ends along one axis, in shares of the axis. */
function endsOf(profile: Float64Array, area: number): [number, number] {
  const place = (at: number) => (at + 0.5) / profile.length;
  let middle = 0;
  profile.forEach((count, at) => (middle += place(at) * count));
  middle /= area;
  let squares = 0;
  profile.forEach((count, at) => (squares += (place(at) - middle) ** 2 * count));
  const half = BOX_DEVIATIONS * Math.sqrt(squares / area);
  return [middle - half, middle + half];
}

/** Return for each class the pixels that it wins, and the sum of their softmax probabilities. */
function certainty(logits: Float32Array, classes: number, size: number): Float64Array[] {
  const step = Math.max(1, Math.floor(size / SAMPLED_LOGITS));
  const won = new Float64Array(classes);
  const sum = new Float64Array(classes);
  for (let row = 0; row < size; row += step) {
    for (let column = 0; column < size; column += step) {
      const at = row * size + column;
      let best = 0;
      for (let number = 1; number < classes; number++) {
        if (logits[number * size * size + at]! > logits[best * size * size + at]!) best = number;
      }
      if (!best) continue;
      let all = 0;
      for (let number = 0; number < classes; number++) {
        all += Math.exp(logits[number * size * size + at]! - logits[best * size * size + at]!);
      }
      won[best]!++;
      sum[best]! += 1 / all;
    }
  }
  return [won, sum];
}
