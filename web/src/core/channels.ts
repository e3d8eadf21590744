// A scan of several channels in as many NIfTI files: which file is which channel. As src/embedded_vit/io/channels.py.

import { ContractError, FileFormatError } from "./errors";
import type { NamedFile } from "./namedFile";
import type { ReadScan } from "./niftiFile";
import { voxelsApart } from "./niftiHeader";
import { general } from "./numbers";
import { inverse3, reoriented, type Affine, type Volume, type Voxels } from "./volume";

const NUMBERED = /^(.+)_(\d{4})$/;
const GRID_TOLERANCE = 0.1; // of a voxel, at the corner where two grids differ most

/** Return the files in the order of the channels, by their names where these tell it, and the name of the case. */
export function channelFiles(
  files: NamedFile[],
  channels: string[],
  stemOf: (file: NamedFile) => string,
): { ordered: NamedFile[]; stem: string } {
  const [first] = files as [NamedFile, ...NamedFile[]];
  const refused = (what: string) => new ContractError(`${first.name}: ${what}`, false);
  if (files.length !== channels.length) {
    const takes = `${channels.length} channel${channels.length === 1 ? "" : "s"}: ${channels.join(", ")}`;
    throw refused(`${files.length} files, this artifact takes ${takes}; give one file for each`);
  }
  if (files.length === 1) return { ordered: files, stem: stemOf(first) };
  const matches = files.map((file) => NUMBERED.exec(stemOf(file)));
  if (matches.every((match) => match !== null) && new Set(matches.map((match) => match[1])).size === 1) {
    const numbers = matches.map((match) => Number(match[2]));
    const ordered = channels.map((_, place) => files[numbers.indexOf(place)]);
    if (!ordered.every((file) => file !== undefined)) {
      throw refused(`the files are numbered [${numbers.join(", ")}], expected 0 to ${channels.length - 1}; one per channel`);
    }
    return { ordered, stem: matches[0]![1]! };
  }
  const endsWith = (file: NamedFile, channel: string) => {
    const [stem, end] = [stemOf(file).toLowerCase(), `_${channel.toLowerCase()}`];
    return stem.endsWith(end) && stem.length > end.length;
  };
  const named = files.map((file) => channels.filter((channel) => endsWith(file, channel)));
  if (!named.some((found) => found.length)) return { ordered: files, stem: stemOf(first) };
  const ordered = channels.map((channel) => files[named.findLastIndex((found) => found.length === 1 && found[0] === channel)]);
  if (!ordered.every((file) => file !== undefined)) {
    throw refused(
      `the names of the files do not tell which is which of ${channels.join(", ")}; let each end in its channel's name, ` +
        "or in _0000, _0001, ...",
    );
  }
  return { ordered, stem: stemOf(ordered[0]!).slice(0, -channels[0]!.length - 1) };
}

/** Put scans of one channel each together, on the grid of the first: stored numbers where all are stored alike. */
export function joinedChannels([first, ...others]: [ReadScan, ...ReadScan[]]): ReadScan {
  const { volume } = first;
  const laid = others.map((other) => laidOn(other.volume, volume));
  const all = [volume, ...laid];
  const remarks = [first, ...others].flatMap((read) => read.remarks);
  const alike = (other: Volume) =>
    other.channels[0]!.constructor === volume.channels[0]!.constructor &&
    other.slope === volume.slope &&
    other.intercept === volume.intercept;
  if (all.every(alike)) return { ...first, volume: { ...volume, channels: all.map(({ channels }) => channels[0]!) }, remarks };
  return { ...first, volume: { ...volume, channels: all.map(scaled), slope: 1, intercept: 0 }, remarks };
}

function scaled({ channels, slope, intercept }: Volume): Float32Array {
  const [by, to] = [Math.fround(slope), Math.fround(intercept)];
  return Float32Array.from(channels[0]!, (value) => Math.fround(Math.fround(value) * by) + to);
}

/** Return a channel on its scan's grid: its axes in the scan's order and direction, in the same flat memory. */
function laidOn(other: Volume, scan: Volume): Volume {
  const inverse = inverse3(scan.affine.map((row) => row.slice(0, 3)));
  const shift = [0, 1, 2].map((row) => other.affine[row]![3]! - scan.affine[row]![3]!);
  const inIndices: Affine = inverse.map((row) => [
    ...[0, 1, 2].map((axis) => row.reduce((sum, value, k) => sum + value * other.affine[k]![axis]!, 0)),
    row.reduce((sum, value, k) => sum + value * shift[k]!, 0),
  ]);
  const turned = reoriented({ ...other, affine: [...inIndices, [0, 0, 0, 1]] }, "RAS");
  const identity: Affine = [0, 1, 2, 3].map((row) => [0, 1, 2, 3].map((column) => Number(row === column)));
  const problem = gridProblem(identity, scan, turned.affine, turned);
  if (problem) {
    const told = scan.shape.join() === other.shape.join() ? gridProblem(scan.affine, scan, other.affine, other) : null;
    throw new FileFormatError(
      `${other.source}: lies on another grid than ${scan.source}: ${told ?? problem}; resample it to the scan`,
    );
  }
  const from = other.channels[0]!;
  if (turned.offset === scan.offset && turned.strides.join() === scan.strides.join()) return other;
  const into = new (from.constructor as new (length: number) => Voxels)(from.length);
  const [a, b, c] = scan.shape;
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) {
      let to = scan.offset + i * scan.strides[0] + j * scan.strides[1];
      let at = turned.offset + i * turned.strides[0] + j * turned.strides[1];
      for (let k = 0; k < c; k++, to += scan.strides[2], at += turned.strides[2]) into[to] = from[at]!;
    }
  }
  return { ...other, channels: [into] };
}

function gridProblem(affine: Affine, scan: Volume, otherAffine: Affine, other: Volume): string | null {
  if (scan.shape.join() !== other.shape.join()) {
    return `image ${scan.shape.join(" x ")} and channel ${other.shape.join(" x ")} differ in shape`;
  }
  const apart = voxelsApart(affine, otherAffine, scan.shape);
  return apart > GRID_TOLERANCE
    ? `the affines of image and channels differ: ${general(apart, 3)} voxels apart at a corner`
    : null;
}
