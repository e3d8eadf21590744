// Where the slices of a DICOM series lie, and whether they are a volume. As src/embedded_vit/io/dicom/placement.py.

import type { Slice } from "./dicomHeaders";
import { FileFormatError } from "./errors";
import { general } from "./numbers";
import { checkAffine, type Affine } from "./volume";

const SEPARATE = "give a folder with the slices of one volume";
const TOLERANCE = 0.1; // of the distance between slices: how far a slice may lie from its even place
const SAME = 1e-3;
const LPS_TO_RAS = [-1, -1, 1];

/** Sort slices along the normal of their plane; refuse what is no volume. */
export function placeSlices(slices: Slice[], source: string): { ordered: Slice[]; affine: Affine; tilted: boolean } {
  const [first] = slices as [Slice, ...Slice[]];
  if (slices.some(({ shape, kind }) => shape.join() !== first.shape.join() || kind !== first.kind)) {
    throw new FileFormatError(`${source}: the slices of the series are not all of one size and type; ${SEPARATE}`);
  }
  const plane = ({ across, down, spacing }: Slice) => [...across, ...down, ...spacing];
  const differs = (slice: Slice) => plane(slice).some((value, n) => Math.abs(value - plane(first)[n]!) > SAME);
  if (slices.some(differs)) {
    throw new FileFormatError(`${source}: the slices of the series differ in direction or spacing; ${SEPARATE}`);
  }
  const [a, b] = [first.across, first.down];
  const normal = [
    a[1]! * b[2]! - a[2]! * b[1]!,
    a[2]! * b[0]! - a[0]! * b[2]!,
    a[0]! * b[1]! - a[1]! * b[0]!,
  ];
  const height = ({ position }: Slice) => position.reduce((sum, value, axis) => sum + value * normal[axis]!, 0);
  const ordered = [...slices].sort((one, other) => height(one) - height(other));
  const step = stepOf(ordered, normal, source);
  if (ordered.length > 1) checkEven(ordered, ordered.map(height), step, source);
  const start = ordered[0]!;
  const [rowMm, columnMm] = first.spacing;
  const columns = [a.map((v) => v * columnMm), b.map((v) => v * rowMm), step, start.position];
  const affine = [...LPS_TO_RAS.map((sign, row) => columns.map((column) => sign * column[row]!)), [0, 0, 0, 1]];
  checkAffine(affine, source, [first.shape[1], first.shape[0], ordered.length]);
  const along = Math.abs(step.reduce((sum, value, axis) => sum + value * normal[axis]!, 0));
  const beside = Math.sqrt(Math.max(0, Math.hypot(...step) ** 2 - along ** 2)) * (ordered.length - 1);
  return { ordered, affine, tilted: beside > TOLERANCE * Math.min(rowMm, columnMm) };
}

/** Return the step from each slice to the next, LPS+ mm. */
function stepOf(ordered: Slice[], normal: number[], source: string): number[] {
  const [first, last] = [ordered[0]!, ordered.at(-1)!];
  if (ordered.length > 1) {
    return first.position.map((value, axis) => (last.position[axis]! - value) / (ordered.length - 1));
  }
  if (!((first.thickness ?? 0) > 0)) {
    throw new FileFormatError(`${source}: a single slice without a SliceThickness; give the whole series`);
  }
  return normal.map((value) => value * first.thickness!);
}

/** Refuse slices at other places than first + index * step, and say what is wrong with them. */
function checkEven(ordered: Slice[], heights: number[], step: number[], source: string): void {
  const gaps = heights.slice(1).map((height, n) => height - heights[n]!);
  const usual = [...gaps].sort((one, other) => one - other)[Math.floor((gaps.length - 1) / 2)]!;
  if (Math.min(...gaps) <= TOLERANCE * usual) {
    throw new FileFormatError(
      `${source}: several slices of the series lie at the same place: copies, or more than one volume (phases, ` +
        `echoes); ${SEPARATE}`,
    );
  }
  const start = ordered[0]!.position;
  const strayed = ordered.map(({ position }, n) =>
    Math.hypot(...position.map((value, axis) => value - start[axis]! - n * step[axis]!)),
  );
  if (Math.max(...strayed) <= TOLERANCE * Math.hypot(...step)) return;
  const missing = gaps.map((gap) => Math.round(gap / usual) - 1);
  const lost = missing.reduce((sum, count) => sum + count, 0);
  if (lost && gaps.every((gap, n) => Math.abs(gap / usual - missing[n]! - 1) <= TOLERANCE)) {
    throw new FileFormatError(
      `${source}: slices missing between the first and the last: ${lost}; copy the series again`,
    );
  }
  throw new FileFormatError(
    `${source}: the slices lie ${general(Math.min(...gaps), 3)} to ${general(Math.max(...gaps), 3)} mm apart and up to ` +
      `${general(Math.max(...strayed), 3)} mm beside an even row; resample the series to one distance`,
  );
}

/** Say that numbers of slices are skipped, as where every second slice was not copied; null where none are. */
export function numberingRemark(ordered: Slice[]): string | null {
  const numbers = ordered.map(({ instance }) => instance).filter((number) => number !== null);
  const steps = numbers.slice(1).map((number, n) => number - numbers[n]!);
  const oneWay = steps.length > 1 && (steps.every((each) => each > 0) || steps.every((each) => each < 0));
  const skipped = oneWay ? steps.reduce((sum, each) => sum + Math.abs(each) - 1, 0) : 0;
  if (!skipped) return null;
  return `the numbers of the slices (InstanceNumber) skip ${skipped}: were slices lost when the series was copied?`;
}
