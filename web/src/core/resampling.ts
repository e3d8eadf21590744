// Resizing as a linear map along one axis, section 3 and 5 of docs/contract.md.

import type { Interpolation } from "./manifest";

/** A matrix (targets, sources) of which each row is not zero in one run of columns only. */
export interface Bands {
  targets: number;
  sources: number;
  first: Int32Array; // the first source of each target
  weights: Float32Array[]; // of the sources from there on
}

/** Return the weights that reduce an axis of `source` pixels to `target`, for the sources from `begin` to `end`. */
export function reducing(
  interpolation: Interpolation,
  source: number,
  target: number,
  begin: number,
  end: number,
): Bands {
  const row = interpolation === "cubic" ? cubicRows(source, target) : antialiasRows(source, target);
  const first = new Int32Array(target);
  const weights = Array.from({ length: target }, (_, place) => {
    const found = row(place);
    let from = Math.min(Math.max(begin, found.first), end);
    let to = Math.max(from, Math.min(end, found.first + found.weights.length));
    while (from < to && found.weights[from - found.first] === 0) from++; // pixels of no weight at the ends
    while (from < to && found.weights[to - 1 - found.first] === 0) to--;
    first[place] = from - begin;
    return found.weights.slice(from - found.first, to - found.first);
  });
  return { targets: target, sources: end - begin, first, weights };
}

interface Row {
  first: number;
  weights: Float32Array;
}

/** A triangle filter as wide as an output pixel when reducing, bilinear when enlarging. */
function antialiasRows(source: number, target: number): (place: number) => Row {
  const scale = source / target;
  const reach = Math.max(scale, 1);
  return (place) => {
    const centre = (place + 0.5) * scale - 0.5;
    const first = Math.max(0, Math.floor(centre - reach));
    const last = Math.min(source - 1, Math.ceil(centre + reach));
    const weights = new Float64Array(last - first + 1);
    let sum = 0;
    for (let i = first; i <= last; i++) {
      const weight = Math.max(0, 1 - Math.abs(i - centre) / reach);
      weights[i - first] = weight;
      sum += weight;
    }
    return { first, weights: Float32Array.from(weights, (weight) => weight / sum) };
  };
}

/** The interpolating cubic spline of scipy.ndimage.zoom(order=3), mirrored at the ends (Unser 1999). */
function cubicRows(source: number, target: number): (place: number) => Row {
  const knots = Array.from({ length: source }, (_, place) => splineRow(place, source));
  return (place) => {
    const position = (place * (source - 1)) / Math.max(target - 1, 1);
    const row = new Float64Array(source);
    for (const [knot, weight] of splineRow(position, source)) row[knot]! += weight;
    return { first: 0, weights: Float32Array.from(solvedFromLeft(row, knots)) };
  };
}

/** The value of every cubic B-spline at a position, mirrored at both ends, as pairs of its place and its value. */
function splineRow(position: number, length: number): Map<number, number> {
  const found = new Map<number, number>();
  const first = Math.floor(position) - 1;
  for (let offset = 0; offset < 4; offset++) {
    const distance = Math.abs(position - (first + offset));
    const weight =
      distance < 1 ? 2 / 3 - distance ** 2 + distance ** 3 / 2 : Math.max(0, 2 - distance) ** 3 / 6;
    let knot = Math.abs(first + offset);
    if (knot >= length) knot = 2 * (length - 1) - knot;
    knot = Math.min(Math.max(knot, 0), length - 1);
    if (weight) found.set(knot, (found.get(knot) ?? 0) + weight);
  }
  return found;
}

/** Solve x A = row for a tridiagonal A, given by its rows; by Thomas's algorithm on the transposed matrix. */
function solvedFromLeft(row: Float64Array, matrix: Map<number, number>[]): Float64Array {
  const length = row.length;
  const at = (i: number, j: number) => matrix[j]?.get(i) ?? 0; // transposed
  const upper = new Float64Array(length);
  const solved = Float64Array.from(row);
  let pivot = at(0, 0);
  solved[0]! /= pivot;
  upper[0] = at(0, 1) / pivot;
  for (let i = 1; i < length; i++) {
    pivot = at(i, i) - at(i, i - 1) * upper[i - 1]!;
    upper[i] = at(i, i + 1) / pivot;
    solved[i] = (solved[i]! - at(i, i - 1) * solved[i - 1]!) / pivot;
  }
  for (let i = length - 2; i >= 0; i--) solved[i]! -= upper[i]! * solved[i + 1]!;
  return solved;
}

/** Resize (sources, width) to (targets, width) along the rows, in float64; four columns at a time, which halves the time. */
export function alongRows(bands: Bands, image: Float32Array, width: number, into: Float32Array): Float32Array {
  for (let target = 0; target < bands.targets; target++) {
    const weights = bands.weights[target]!;
    const from = bands.first[target]! * width;
    const to = target * width;
    let column = 0;
    for (; column + 4 <= width; column += 4) {
      let [one, two, three, four] = [0, 0, 0, 0];
      for (let k = 0, at = from + column; k < weights.length; k++, at += width) {
        const weight = weights[k]!;
        one += weight * image[at]!;
        two += weight * image[at + 1]!;
        three += weight * image[at + 2]!;
        four += weight * image[at + 3]!;
      }
      into[to + column] = one;
      into[to + column + 1] = two;
      into[to + column + 2] = three;
      into[to + column + 3] = four;
    }
    for (; column < width; column++) {
      let sum = 0;
      for (let k = 0, at = from + column; k < weights.length; k++, at += width) sum += weights[k]! * image[at]!;
      into[to + column] = sum;
    }
  }
  return into;
}

/** Resize (height, sources) to (height, targets) along the columns. */
export function alongColumns(bands: Bands, image: Float32Array, height: number): Float32Array {
  const resized = new Float32Array(height * bands.targets);
  for (let target = 0; target < bands.targets; target++) {
    const weights = bands.weights[target]!;
    let from = bands.first[target]!;
    for (let to = target; to < resized.length; to += bands.targets, from += bands.sources) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k]! * image[from + k]!;
      resized[to] = sum;
    }
  }
  return resized;
}

/** A linear interpolation along one axis: each target lies between two sources. */
export interface Enlarging {
  first: Int32Array;
  second: Int32Array;
  weight: Float32Array; // of the second source; the first has the rest
  place: Float64Array; // of each target, in shares of the sources' axis
}

/** Interpolate `source` pixels onto the targets from `begin` to `end` of `target`, centres aligned, edges held. */
export function enlarging(source: number, target: number, begin: number, end: number): Enlarging {
  const count = end - begin;
  const made: Enlarging = {
    first: new Int32Array(count),
    second: new Int32Array(count),
    weight: new Float32Array(count),
    place: new Float64Array(count),
  };
  for (let place = 0; place < count; place++) {
    const free = ((begin + place + 0.5) * source) / target - 0.5;
    const position = Math.min(Math.max(free, 0), source - 1);
    const left = Math.min(Math.floor(position), Math.max(source - 2, 0));
    // As from the matrix: a first pixel of no weight is none, so its neighbour takes its place.
    const weight = Math.fround(position - left);
    const first = Math.fround(1 - (position - left)) === 0 ? Math.min(left + 1, source - 1) : left;
    made.first[place] = first;
    made.second[place] = Math.min(first + 1, source - 1);
    made.weight[place] = first === left && made.second[place]! > first ? weight : 0;
    const onFirst = (left + 0.5) / source;
    const onSecond = (Math.min(left + 1, source - 1) + 0.5) / source;
    made.place[place] = onFirst * (1 - (position - left)) + onSecond * (position - left);
  }
  return made;
}
