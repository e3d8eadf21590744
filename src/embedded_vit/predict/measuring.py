"""How many voxels each structure of a finished mask has, and how bright they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedded_vit.labels import LabelSet
from embedded_vit.volume import Mask, Scan, labelled_box

__all__ = ["Brightness", "MeasuredMask", "measure_mask", "region_sizes", "size_unit", "structure_volumes"]

DIGITS = 6  # of a brightness, as many as float32 has
VOXEL_DIGITS = 9  # of the size of a voxel
DECIMALS = {"ml": 3, "mm2": 6, "voxels": 0, "pixels": 0}  # that are kept of a size, by its unit


@dataclass(frozen=True)
class Brightness:
    """The mean and the standard deviation of a structure's voxels in one channel, in its unit (HU for CT)."""

    mean: float
    deviation: float


@dataclass(frozen=True, eq=False)
class MeasuredMask:
    """What was counted and added up over a mask.

    Attributes:
        counts: How many voxels have each label, (256,).
        by_slice: How many voxels of each slice have a label, (slices,), in the orientation that was asked for.
        sums, squares: Of the intensities of each label's voxels, and of their squares, (channels, 256).
    """

    counts: NDArray[np.int64]
    by_slice: NDArray[np.int64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]

    def brightness(self, labels: LabelSet, channels: Sequence[str]) -> dict[str, dict[str, Brightness]]:
        """Return structure -> channel -> brightness; structures without a voxel are left out."""
        return {
            label.name: {name: self._of(number, label.id) for number, name in enumerate(channels)}
            for label in labels.labels
            if self.counts[label.id]
        }

    def _of(self, channel: int, label: int) -> Brightness:
        count = int(self.counts[label])
        mean = float(self.sums[channel, label]) / count
        variance = max(0.0, float(self.squares[channel, label]) / count - mean**2)
        return Brightness(_rounded(mean), _rounded(variance**0.5))


def measure_mask(scan: Scan, mask: Mask, orientation: str) -> MeasuredMask:
    """Count the voxels of a mask, and add up their intensities; only the boxes around labels are looked at.

    Args:
        scan: The scan.
        mask: On its grid.
        orientation: In which its slices can be read, for example "SLP"; `by_slice` is in it.
    """
    scan, mask = scan.reoriented(orientation), mask.reoriented(orientation)
    slices = scan.shape[0]
    counts, by_slice = np.zeros(256, np.int64), np.zeros(slices, np.int64)
    sums, squares = np.zeros((2, scan.channels, 256))
    for index in range(slices):
        labels = mask.get(index)
        if not np.count_nonzero(labels):
            continue
        box = labelled_box(labels)
        labels = labels[box]
        chosen = labels != 0
        numbers = labels[chosen]
        counts += np.bincount(numbers, minlength=256)
        by_slice[index] = len(numbers)
        for channel, plane in enumerate(scan.stored(index)):
            values = plane[box][chosen].astype(np.float64) * scan.slope + scan.intercept
            sums[channel] += np.bincount(numbers, values, 256)
            squares[channel] += np.bincount(numbers, values * values, 256)
    counts[0] = int(np.prod(scan.shape)) - counts.sum()
    return MeasuredMask(counts, by_slice, sums, squares)


def structure_volumes(
    mask: Mask, counts: NDArray[np.int64], labels: LabelSet, *, flat: bool = False
) -> dict[str, float]:
    """Return the volume of every structure in ml, or in voxels where the spacing is unknown.

    Args:
        mask: Its grid gives the volume of a voxel.
        counts: Of the mask, as `Mask.counts` gives them.
        labels: The structures.
        flat: Whether it is the mask of a picture; then areas in mm2, or in pixels.
    """
    unit = size_unit(mask, flat=flat)
    of_voxel = 1.0
    if unit == "mm2":
        of_voxel = float(np.prod(mask.spacing_mm[1:]))
    elif unit == "ml":
        of_voxel = abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000
    of_voxel = _rounded(of_voxel, VOXEL_DIGITS)  # so that its last bit decides no tie
    return {label.name: round(int(counts[label.id]) * of_voxel, DECIMALS[unit]) for label in labels.labels}


def size_unit(mask: Mask, *, flat: bool) -> str:
    """Return the unit of a mask's sizes: ml, or voxels where the spacing is unknown; of a picture mm2 or pixels."""
    if flat:
        return "mm2" if mask.spacing_known else "pixels"
    return "ml" if mask.spacing_known else "voxels"


def region_sizes(sizes: Mapping[str, float], labels: LabelSet, unit: str) -> dict[str, float]:
    """Return the size of every region: the sum of those of its structures.

    Args:
        sizes: Of every structure, in `unit`.
        labels: The structures and regions.
        unit: As `size_unit` gives it.
    """
    return {
        region.name: round(sum(sizes[labels.names[member - 1]] for member in region.members), DECIMALS[unit])
        for region in labels.regions
    }


def _rounded(value: float, digits: int = DIGITS) -> float:
    return float(f"{value:.{digits}g}")
