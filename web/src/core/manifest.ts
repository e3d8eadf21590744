// The parts of a model's manifest that decide a mask; docs/contract.md says what they mean.

export type Interpolation = "antialias" | "cubic";
export type Modality = "CT" | "MR" | "picture";
export type FieldOfView = "slice" | "body" | "nonzero";
export type Range = [number, number];

export interface Preprocessing {
  modality: Modality;
  channels: string[];
  window_hu: Range | null;
  percentiles: Range | null;
  deviations: number | null;
  ranges: Range[] | null;
  image_size: number;
  output_stride: number;
  context_slices: 1 | 3;
  context_mm: number | null;
  interpolation: Interpolation;
  orientation: string;
  field_of_view: FieldOfView;
  field_mm: number | null;
}

export interface Label {
  id: number;
  name: string;
  colour: string;
  snomed: string | null;
}

/** Several structures that are scored as one. */
export interface Region {
  name: string;
  members: number[]; // the numbers of its structures
}

export interface Fingerprint {
  mean: number[][];
  deviation: number[][];
}

export interface StructureRange {
  in_every_case: boolean;
  volume: Range;
  share: Range;
  left: Range | null;
  posterior: Range | null;
  superior: Range | null;
  confidence: number | null;
}

export type Axis = "superior" | "left" | "posterior";

export interface Plausibility {
  cases: number;
  unit: "ml" | "voxels";
  structures: Record<string, StructureRange>;
  order: { first: string; second: string; axis: Axis }[];
  least_height_mm: number | null;
}

export interface Contract {
  preprocessing: Preprocessing;
  labels: { labels: Label[]; regions?: Region[] };
  postprocessing: { smallest_component: Record<string, number> };
  spacing_range: { slices_mm: Range; in_plane_mm: Range } | null;
  intensities: Fingerprint | null;
  plausibility: Plausibility | null;
}

/** The share of its largest component that a component of each label from 1 must have to stay; 0 keeps all. */
export function smallestShares(contract: Contract): number[] {
  return contract.labels.labels.map((label) => contract.postprocessing.smallest_component[label.name] ?? 0);
}

/** T: rows and columns of the network's logits. */
export function outputSize(preprocessing: Preprocessing): number {
  return Math.floor(preprocessing.image_size / preprocessing.output_stride);
}
