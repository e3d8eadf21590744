"""Volumes and label maps: an array, where it lies in the patient, and where it came from.

Arrays are always (channels, slices, rows, columns) for a `Volume` and (slices, rows, columns) for a `LabelMap`.
The affine maps an array index (slice, row, column) to millimetres in RAS+ world coordinates, as in nibabel: x grows to
the patient's right, y to anterior, z to superior. A file's own axis order may be any; networks see "SLP": slices run to
superior, rows to the patient's left, columns to posterior, as in TransUNet's arrays. `reoriented` is a view.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import nibabel.orientations as orientations
import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError

__all__ = ["TRAINING_ORIENTATION", "LabelMap", "Volume", "border", "check_affine", "spacing_of"]

TRAINING_ORIENTATION = "SLP"


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """The distance in mm between neighbouring voxels along each of the three array axes of a 4 x 4 affine."""
    slices, rows, columns = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return float(slices), float(rows), float(columns)


def check_affine(affine: NDArray[np.float64], source: str) -> None:
    """Refuse an affine that puts no voxel anywhere.

    Raises:
        FileFormatError: It is not finite, has a zero spacing, or is singular.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise FileFormatError(f"{source}: the affine is not a finite 4 x 4 matrix; repair the header")
    spacing = spacing_of(affine)
    if min(spacing) <= 0:
        raise FileFormatError(f"{source}: voxel spacing {spacing} mm has a zero; repair the header")
    if abs(np.linalg.det(affine[:3, :3] / np.array(spacing))) < 1e-3:
        raise FileFormatError(f"{source}: the affine is singular (two array axes are parallel); repair the header")


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan: stored numbers and how to read them.

    Attributes:
        array: (channels, slices, rows, columns), any real dtype, in the numbers that the file stores.
        affine: (4, 4) float64, (slice, row, column) -> RAS+ mm.
        slope, intercept: intensity = stored * slope + intercept (HU for CT).
        spacing_known: False when the file carries no spacing (TransUNet's arrays); lengths are then in voxels.
        source: File or case name, for messages.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0
    spacing_known: bool = True
    source: str = "volume"

    def __post_init__(self) -> None:
        if self.array.ndim != 4:
            raise FileFormatError(
                f"{self.source}: expected 4 axes (channel, slice, row, column), got {self.array.shape}"
            )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring slices, rows and columns, in mm (1, 1, 1 when unknown)."""
        return spacing_of(self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        _, slices, rows, columns = self.array.shape
        return slices, rows, columns

    def intensities(self, index: int) -> NDArray[np.float32]:
        """One slice in real intensities: (channels, rows, columns) float32, HU for CT."""
        return self.array[:, index].astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)

    def reoriented(self, codes: str = TRAINING_ORIENTATION) -> Volume:
        """The same scan with its axes permuted and flipped to `codes`, for example "SLP"; a view."""
        array, affine = _reorient(np.moveaxis(self.array, 0, -1), self.affine, codes)
        return replace(self, array=np.moveaxis(array, -1, 0), affine=affine)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A mask on a scan's grid.

    Attributes:
        array: (slices, rows, columns) uint8, 0 is background.
        affine: (4, 4) float64, (slice, row, column) -> RAS+ mm.
        spacing_known: False when lengths are in voxels.
        source: File or case name, for messages.
    """

    array: NDArray[np.uint8]
    affine: NDArray[np.float64]
    spacing_known: bool = True
    source: str = "mask"

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise FileFormatError(f"{self.source}: expected 3 axes (slice, row, column), got {self.array.shape}")

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring slices, rows and columns, in mm (1, 1, 1 when unknown)."""
        return spacing_of(self.affine)

    def reoriented(self, codes: str = TRAINING_ORIENTATION) -> LabelMap:
        """The same mask with its axes permuted and flipped to `codes`; a view."""
        array, affine = _reorient(self.array, self.affine, codes)
        return replace(self, array=array, affine=affine)


def border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels of a mask that have a face in common with a voxel outside it, or with the array's edge.

    Args:
        mask: bool, any number of axes.

    Returns:
        bool, the same shape: the mask less its erosion by one voxel along the axes.
    """
    inner = mask.copy()
    for axis in range(mask.ndim):
        here, neighbours = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] &= neighbours[:-1]
        here[:-1] &= neighbours[1:]
        here[[0, -1]] = False
    return mask & ~inner


def _reorient(array: NDArray[Any], affine: NDArray[np.float64], codes: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Permute and flip the first three axes of `array` to `codes`, and the affine with them."""
    transform = orientations.ornt_transform(
        orientations.io_orientation(affine), orientations.axcodes2ornt(tuple(codes))
    )
    moved = affine @ orientations.inv_ornt_aff(transform, array.shape[:3])
    return orientations.apply_orientation(array, transform), moved
