"""Volumes and label maps: an array, where it lies in the patient, and where it came from.

`Scan` and `Mask` are what segmenting a scan needs of them, slice by slice; `Volume` and `LabelMap` hold it in memory,
`io/spool/` on the disk.

Arrays are always (channels, slices, rows, columns) for a `Volume` and (slices, rows, columns) for a `LabelMap`.
The affine maps an array index (slice, row, column) to millimetres in RAS+ world coordinates, as in nibabel: x grows to
the patient's right, y to anterior, z to superior. A file's own axis order may be any; networks see "SLP": slices run to
superior, rows to the patient's left, columns to posterior, as in TransUNet's arrays. `reoriented` is a view.
"""

from __future__ import annotations

import math
import mmap
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import nibabel.orientations as orientations
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.errors import FileFormatError

__all__ = [
    "AIR_HU",
    "LENGTH_ROUNDING",
    "TRAINING_ORIENTATION",
    "UPRIGHT_AFFINE",
    "LabelMap",
    "Mask",
    "Scan",
    "Volume",
    "border",
    "check_affine",
    "labelled_box",
    "nearest_whole",
    "reorientation",
    "spacing_of",
]

TRAINING_ORIENTATION = "SLP"
# (slice, row, column) -> RAS+ of an array in training orientation that has no spacing; lengths in voxels.
UPRIGHT_AFFINE = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)
AIR_HU = -1000.0  # by the definition of the Hounsfield scale
LENGTH_ROUNDING = 1e-4  # relative: files round spacings, in float32 or to some decimals; no threshold may hang on that
# What a whole body, thick slices of a fine detector, and a table far from the isocentre need is a fraction of these.
MOST_FIELD_MM, MOST_SPACING_RATIO, MOST_OFFSET_MM = 5000.0, 250.0, 100_000.0
COUNTED_AT_ONCE = 2**20  # voxels: counting needs eight bytes for each


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the distance in mm between neighbouring voxels along each array axis of a 4 x 4 affine."""
    slices, rows, columns = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return float(slices), float(rows), float(columns)


def nearest_whole(ratio: float) -> int:
    """Return the nearest whole number to a ratio of two lengths; a tie, up to rounding of the lengths, is even."""
    return round(round(ratio, 3))


def check_affine(affine: NDArray[np.float64], source: str, shape: Sequence[int] = ()) -> None:
    """Refuse an affine that puts no voxel anywhere, or voxels where no scanner does.

    Args:
        affine: (4, 4), array index -> RAS+ mm.
        source: File, for messages.
        shape: Length of the axes; without it the field of view is not checked.

    Raises:
        FileFormatError: It is not finite, has a zero spacing, or is singular; spacings differ by too much, or the field
            of view or the place is too large.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise FileFormatError(f"{source}: the affine is not a finite 4 x 4 matrix; repair the header")
    spacing = spacing_of(affine)
    if min(spacing) <= 0:
        raise FileFormatError(f"{source}: voxel spacing {spacing} mm has a zero; repair the header")
    if abs(np.linalg.det(affine[:3, :3] / np.array(spacing))) < 1e-3:
        raise FileFormatError(f"{source}: the affine is singular (two array axes are parallel); repair the header")
    lengths_mm = [length * spacing_mm for length, spacing_mm in zip(shape[:3], spacing, strict=False)]
    if max(spacing) > MOST_SPACING_RATIO * min(spacing) or max(lengths_mm, default=0.0) > MOST_FIELD_MM:
        numbers, field_mm = " x ".join(f"{length:.3g}" for length in spacing), max(lengths_mm, default=0.0)
        raise FileFormatError(
            f"{source}: voxels of {numbers} mm over {field_mm:.3g} mm: no scanner makes them (at most "
            f"{MOST_FIELD_MM / 1000:g} m, spacings within a factor of {MOST_SPACING_RATIO:g}); repair the header"
        )
    away_mm = float(np.abs(affine[:3, 3]).max())
    if away_mm > MOST_OFFSET_MM:
        raise FileFormatError(f"{source}: the first voxel lies {away_mm:.3g} mm away; repair the header")


class _OnGrid(ABC):
    """Voxels that lie somewhere in a patient; attributes as those of `Volume` and `LabelMap`."""

    affine: NDArray[np.float64]
    spacing_known: bool
    source: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring slices, rows and columns, in mm (1, 1, 1 when unknown)."""
        return spacing_of(self.affine)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""

    @abstractmethod
    def reoriented(self, codes: str = TRAINING_ORIENTATION) -> Self:
        """Return the same voxels with their axes permuted and flipped to `codes`, for example "SLP"; a view."""


class Scan(_OnGrid):
    """A scan that gives its slices one by one."""

    slope: float
    intercept: float

    @property
    @abstractmethod
    def channels(self) -> int:
        """The number of channels."""

    @abstractmethod
    def stored(self, index: int) -> NDArray[Any]:
        """Read one slice in stored numbers: (channels, rows, columns), any real dtype."""

    @abstractmethod
    def empty_mask(self) -> Mask:
        """Make a mask of background on this grid."""

    def intensities(self, index: int) -> NDArray[np.float32]:
        """Read one slice in real intensities: (channels, rows, columns) float32, HU for CT."""
        return self.stored(index).astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)


class Mask(_OnGrid):
    """A mask that takes its slices one by one."""

    array: NDArray[np.uint8]  # (slices, rows, columns)

    @abstractmethod
    def get(self, index: int) -> NDArray[np.uint8]:
        """Read one slice, (rows, columns) uint8; it may be a view."""

    @abstractmethod
    def put(self, index: int, labels: NDArray[np.uint8]) -> None:
        """Write one slice, (rows, columns) uint8."""

    @abstractmethod
    def planes(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the planes (axis 0, axis 1) along axis 2, in the order in which NIfTI stores them."""

    @abstractmethod
    def counts(self) -> NDArray[np.int64]:
        """Return how many voxels have each label, (256,)."""

    def at_border(self) -> NDArray[np.bool_]:
        """Return which labels have a voxel in the first or last plane along any axis of two planes or more, (256,)."""
        found = np.zeros(256, np.bool_)
        last = None
        for number, plane in enumerate(self.planes()):  # (axis 0, axis 1)
            for edge, length in ((plane[[0, -1]], plane.shape[0]), (plane[:, [0, -1]], plane.shape[1])):
                if length > 1:
                    found[edge] = True
            if number == 0:
                first = plane
            last = plane if number else None
        if last is not None:
            found[first], found[last] = True, True
        return found


@dataclass(frozen=True, eq=False)
class Volume(Scan):
    """A scan in memory: stored numbers and how to read them.

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
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        _, slices, rows, columns = self.array.shape
        return slices, rows, columns

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.array.shape[0]

    def stored(self, index: int) -> NDArray[Any]:
        """Return one slice in stored numbers: (channels, rows, columns), a view."""
        return self.array[:, index]

    def empty_mask(self) -> LabelMap:
        """Make a mask of background on this grid, in the memory order of the scan.

        So a slice is as contiguous in the mask as in the scan. Most of what stays background takes no memory.
        """
        slowest_first = np.argsort([-abs(stride) for stride in self.array.strides[1:]], kind="stable")
        array = _untouched_zeros([self.shape[axis] for axis in slowest_first]).transpose(np.argsort(slowest_first))
        return LabelMap(array, self.affine, spacing_known=self.spacing_known, source=self.source)

    def reoriented(self, codes: str = TRAINING_ORIENTATION) -> Volume:
        """Return the same scan with its axes permuted and flipped to `codes`, for example "SLP"; a view."""
        array, affine = _reorient(np.moveaxis(self.array, 0, -1), self.affine, codes)
        return replace(self, array=np.moveaxis(array, -1, 0), affine=affine)


@dataclass(frozen=True, eq=False)
class LabelMap(Mask):
    """A mask on a scan's grid, in memory.

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
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        slices, rows, columns = self.array.shape
        return slices, rows, columns

    def get(self, index: int) -> NDArray[np.uint8]:
        """Read one slice, (rows, columns) uint8; a view."""
        return self.array[index]

    def put(self, index: int, labels: NDArray[np.uint8]) -> None:
        """Write one slice, (rows, columns) uint8, into `array`."""
        plane = self.array[index]
        if np.count_nonzero(plane):  # 12 times faster than any() where axes are turned
            plane[labelled_box(plane)] = 0  # what is background already is not touched; see `Volume.empty_mask`
        box = labelled_box(labels)
        plane[box] = labels[box]

    def planes(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the planes (axis 0, axis 1) along axis 2; views."""
        yield from np.moveaxis(self.array, -1, 0)

    def counts(self) -> NDArray[np.int64]:
        """Return how many voxels have each label, (256,)."""
        counts = np.zeros(256, np.int64)
        voxels = self.array.ravel(order="K")  # a view: as they lie in memory
        for start in range(0, voxels.size, COUNTED_AT_ONCE):
            block = voxels[start : start + COUNTED_AT_ONCE]
            counts += np.bincount(block[block != 0], minlength=256)  # few are labelled, and bincount copies to int64
        counts[0] = voxels.size - counts.sum()
        return counts

    def reoriented(self, codes: str = TRAINING_ORIENTATION) -> LabelMap:
        """Return the same mask with its axes permuted and flipped to `codes`; a view."""
        array, affine = _reorient(self.array, self.affine, codes)
        return replace(self, array=array, affine=affine)


def border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a mask that share a face with a voxel outside it, or lie at the array's edge.

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


def labelled_box(labels: NDArray[np.uint8] | NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns between the first and the last that hold a label; empty without a label."""
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0), slice(0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def reorientation(
    affine: NDArray[np.float64], shape: tuple[int, ...], codes: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how three axes are permuted and flipped so that they run to `codes`.

    Args:
        affine: (4, 4), array index -> RAS+ mm.
        shape: Length of the three axes.
        codes: For example "SLP".

    Returns:
        For each axis its new place and direction, (3, 2), as in `nibabel.orientations`; the affine afterwards.
    """
    transform = orientations.ornt_transform(
        orientations.io_orientation(affine), orientations.axcodes2ornt(tuple(codes))
    )
    return transform, affine @ orientations.inv_ornt_aff(transform, shape)


def _untouched_zeros(shape: Sequence[int]) -> NDArray[np.uint8]:
    """Return zeros that take memory by pages of 4 KiB when they are written; numpy's take 2 MiB at a time on Linux.

    Raises:
        MemoryError: There is not enough memory.
    """
    if sys.platform == "win32":  # which gives numpy small pages too, and has other rules for maps of no file
        return np.zeros(shape, np.uint8)
    try:
        memory = mmap.mmap(-1, max(1, math.prod(shape)), access=mmap.ACCESS_COPY)
    except OSError as error:
        raise MemoryError(f"no room for a mask of {math.prod(shape):,} bytes") from error
    with suppress(AttributeError, OSError):  # Linux may be set to give 2 MiB to everybody
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.ndarray(shape, np.uint8, buffer=memory)


def _reorient(array: NDArray[Any], affine: NDArray[np.float64], codes: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Permute and flip the first three axes of `array` to `codes`, and the affine with them."""
    transform, moved = reorientation(affine, array.shape[:3], codes)
    return orientations.apply_orientation(array, transform), moved
