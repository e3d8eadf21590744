// Whether a scan is what a network expects; as `embedded-vit predict` says it.

import { ContractError } from "./errors";
import { hounsfieldProblems } from "./hounsfield";
import type { Contract } from "./manifest";
import { general } from "./numbers";
import { contextStep } from "./preprocessing";
import { spacingOf, type Volume } from "./volume";

const LENGTH_ROUNDING = 1e-4;
const CHANNELS_OF_MODALITY: Record<string, string> = { PT: "pt|pet", NM: "nm|spect", US: "us|ultrasound" };

/** Refuse a scan that has another number of channels; nothing overrules this. */
export function checkChannels(volume: Volume, contract: Contract): void {
  const expected = contract.preprocessing.channels;
  const found = volume.channels.length;
  if (found === expected.length) return;
  throw new ContractError(
    `${volume.source}: the scan has ${found} channel${found > 1 ? "s" : ""}, this artifact takes ` +
      `${expected.length}: ${expected.join(", ")}; choose another artifact`,
    false,
  );
}

/** Say in what an upright scan differs from the contract, one sentence each.
 *
 * @param modality As the file states it; null where its format does not.
 */
export function violations(
  upright: Volume,
  contract: Contract,
  modality: string | null,
  format: string,
): string[] {
  const { preprocessing, spacing_range } = contract;
  const found: string[] = [];
  const expected = preprocessing.modality;
  if (modality !== null && !takes(contract, modality)) {
    found.push(`the modality is ${modality}, the artifact is made for ${expected}`);
  } else if (expected === "picture" && modality === null) {
    found.push(`a ${format} file, the artifact is made for pictures (PNG, JPEG, TIFF, BMP)`);
  }
  if (spacing_range && upright.spacingKnown) {
    const [betweenSlices, ...inPlane] = spacingOf(upright.affine);
    const together = betweenSlices * contextStep(upright, preprocessing);
    found.push(...outside("slices", [together], spacing_range.slices_mm));
    found.push(...outside("pixels", inPlane, spacing_range.in_plane_mm));
  }
  if (expected === "CT") found.push(...hounsfieldProblems(upright, preprocessing.channels));
  if (expected === "picture" && !upright.shape.includes(1)) {
    found.push(`a volume of ${upright.shape.join(" x ")}, the artifact is made for pictures`);
  }
  return found;
}

function takes(contract: Contract, modality: string): boolean {
  const named = CHANNELS_OF_MODALITY[modality];
  const { preprocessing } = contract;
  if (!named || preprocessing.modality !== "MR") return modality === preprocessing.modality;
  const pattern = new RegExp(`^(?:(${named})([^a-z].*)?)$`, "i");
  return preprocessing.channels.every((name) => pattern.test(name.trim()));
}

function outside(what: string, values: number[], [low, high]: [number, number]): string[] {
  if (Math.min(...values) >= low * (1 - LENGTH_ROUNDING) && Math.max(...values) <= high * (1 + LENGTH_ROUNDING)) {
    return [];
  }
  const different = [...new Set(values)].sort((one, other) => one - other).map((value) => general(value, 3));
  return [
    `${what} lie ${different.join(" and ")} mm apart, the artifact is made for ${general(low, 3)} to ` +
      `${general(high, 3)} mm`,
  ];
}
