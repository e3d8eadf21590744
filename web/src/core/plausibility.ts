// Whether a mask looks like the masks that its network was trained on; as `embedded-vit predict` judges it.

import { AXES, type MaskFigures, type StructureFigures } from "./figures";
import type { Axis, Label, Plausibility, Range, StructureRange } from "./manifest";
import { general } from "./numbers";

const LEAST_CASES = 5;
const SIZE_MARGIN = 1.5;
const ORDER_APART = 0.03;
const HALF_HEIGHT = 0.5;
const FEW_FOUND = 0.25;
const PLAUSIBLE_SHARE = 0.2;
const WORDS: Record<Axis, string> = { superior: "above", left: "left of", posterior: "behind" };

export interface Judgement {
  implausible: Record<string, string[]>;
  missing: string[];
  nothing_plausible: boolean;
}

/** Hold a mask against the training masks. */
export function judge(expected: Plausibility, figures: MaskFigures, labels: Label[]): Judgement {
  const found = new Map(labels.map((label) => [label.name, figures.structures.get(label.id) ?? null]));
  const reasons = new Map<string, string[]>();
  for (const [name, structure] of found) {
    const range = expected.structures[name];
    if (structure && range) reasons.set(name, reasonsOf(expected, figures, structure, range));
  }
  for (const { first, second, axis } of expected.order) {
    const [one, other] = [found.get(first), found.get(second)];
    if (one && other && contradicts(one, other, axis)) {
      reasons.get(first)?.push(`does not lie ${WORDS[axis]} the ${second}`);
    }
  }
  const implausible = Object.fromEntries([...reasons].filter(([, sentences]) => sentences.length));
  let [all, plausible] = [0, 0];
  for (const [name, structure] of found) {
    if (!structure || !expected.structures[name]) continue;
    all += structure.volume;
    if (!implausible[name]) plausible += structure.volume;
  }
  return {
    implausible,
    missing: missing(expected, figures, found),
    nothing_plausible: reasons.size > 0 && plausible < PLAUSIBLE_SHARE * all,
  };
}

/** One sentence for each implausible structure, and one for those that are missing. */
export function warningsOf(judgement: Judgement): string[] {
  const sentences = Object.entries(judgement.implausible).map(
    ([name, reasons]) => `implausible: ${name}: ${reasons.join("; ")}`,
  );
  if (judgement.missing.length) {
    sentences.push(`not found, though every training scan has it: ${judgement.missing.join(", ")}`);
  }
  return sentences;
}

function reasonsOf(
  expected: Plausibility,
  figures: MaskFigures,
  found: StructureFigures,
  range: StructureRange,
): string[] {
  const reasons: string[] = [];
  const [volume, share] = [range.volume, range.share].map((sizes) => widenedBySpread(sizes, expected.cases)) as [
    Range,
    Range,
  ];
  if (figures.inMl === (expected.unit === "ml") && !fits(found.volume, volume, found.atBorder)) {
    const [low, high] = volume.map((end) => general(end, 3));
    reasons.push(`${general(found.volume, 3)} ${expected.unit}, expected ${low} to ${high}`);
  }
  if (!figures.cropped) reasons.push(...outOfPlace(found, range, share));
  if (found.confidence !== null && range.confidence !== null && found.confidence < range.confidence) {
    reasons.push(
      `mean probability ${found.confidence.toFixed(2)}, expected at least ${range.confidence.toFixed(2)}`,
    );
  }
  return reasons;
}

function outOfPlace(found: StructureFigures, expected: StructureRange, allowed: Range): string[] {
  const reasons: string[] = [];
  if (!fits(found.share, allowed, found.atBorder)) {
    const [low, high] = allowed.map((end) => general(100 * end, 2));
    reasons.push(`${general(100 * found.share, 2)} % of the body's cross-section, expected ${low} to ${high} %`);
  }
  for (const axis of AXES) {
    const at = found.place[axis];
    const range = expected[axis];
    if (at === undefined || range === null || (range[0] <= at && at <= range[1])) continue;
    const [low, high] = range.map((end) => end.toFixed(2));
    reasons.push(`at ${at.toFixed(2)} of the body towards ${axis}, expected ${low} to ${high}`);
  }
  return reasons;
}

function missing(
  expected: Plausibility,
  figures: MaskFigures,
  found: Map<string, StructureFigures | null>,
): string[] {
  const always = Object.keys(expected.structures).filter((name) => expected.structures[name]!.in_every_case);
  const there = always.filter((name) => found.get(name)).length;
  const part = there <= FEW_FOUND * always.length ? HALF_HEIGHT : 1;
  const [least, height] = [expected.least_height_mm, figures.heightMm];
  const high = least !== null && height !== null && height >= part * least && !figures.cropped;
  if (figures.structures.size && !high) return [];
  return always.filter((name) => !found.get(name));
}

/** Whether two structures lie the other way round; heights say nothing of what the scan cuts off. */
function contradicts(first: StructureFigures, second: StructureFigures, axis: Axis): boolean {
  if (axis === "superior" && (first.atBorder || second.atBorder)) return false;
  return first.centre[axis] < second.centre[axis] - ORDER_APART;
}

/** Widen a range of sizes by one standard deviation between cases, which its ends tell (Blom 1958). */
function widenedBySpread([low, high]: Range, cases: number): Range {
  const count = Math.max(cases, LEAST_CASES);
  const apart = 2 * inverseNormal((count - 0.375) / (count + 0.25));
  const factor = low > 0 ? Math.max(1, high / low / SIZE_MARGIN ** 2) ** (1 / apart) : 1;
  return [low / factor, high * factor];
}

/** The quantile of the standard normal distribution, for a probability above a half: Wichura's AS 241. */
function inverseNormal(probability: number): number {
  const q = probability - 0.5;
  const ratio = (x: number, above: number[], below: number[]) => polynomial(x, above) / polynomial(x, below);
  if (Math.abs(q) <= 0.425) return q * ratio(0.180625 - q * q, CENTRE[0], CENTRE[1]);
  const r = Math.sqrt(-Math.log(1 - probability));
  return r <= 5 ? ratio(r - 1.6, TAIL[0], TAIL[1]) : ratio(r - 5, FAR_TAIL[0], FAR_TAIL[1]);
}

function polynomial(x: number, coefficients: number[]): number {
  return coefficients.reduceRight((sum, coefficient) => sum * x + coefficient, 0);
}

const CENTRE: [number[], number[]] = [
  [
    3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125, 45921.953931549871457,
    67265.770927008700853, 33430.575583588128105, 2509.0809287301226727,
  ],
  [
    1, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077, 21213.794301586595867,
    39307.89580009271061, 28729.085735721942674, 5226.495278852545925,
  ],
];
const TAIL: [number[], number[]] = [
  [
    1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
    1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4,
  ],
  [
    1, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455, 0.14810397642748007459,
    0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9,
  ],
];
const FAR_TAIL: [number[], number[]] = [
  [
    6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123,
    0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
  ],
  [
    1, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525, 7.868691311456132591e-4,
    1.8463183175100546818e-5, 1.4215117583164458887e-7, 2.04426310338993978564e-15,
  ],
];

/** Whether a size is in its range; what is cut off may be smaller. */
function fits(value: number, [low, high]: Range, atBorder: boolean): boolean {
  return value <= high && (atBorder || value >= low);
}
