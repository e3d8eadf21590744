"""Scans and masks that lie on the disk and come into memory one slice at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import nibabel.orientations as orientations
import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError
from embedded_vit.io.spool.spool import Spool
from embedded_vit.volume import TRAINING_ORIENTATION, Mask, Scan, reorientation

__all__ = ["SpoolView", "SpooledLabelMap", "SpooledVolume", "slice_axis_of"]

BLOCK_BYTES = 1 << 22  # planes of a mask that are read at once
AS_STORED = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])


def slice_axis_of(affine: NDArray[np.float64], codes: str = TRAINING_ORIENTATION) -> int:
    """Return the array axis along which the slices of an orientation follow each other.

    Args:
        affine: (4, 4), array index -> RAS+ mm.
        codes: The orientation.
    """
    transform, _ = reorientation(affine, (1, 1, 1), codes)
    return int(np.flatnonzero(transform[:, 0] == 0)[0])


@dataclass(frozen=True, eq=False)
class SpoolView:
    """An orientation in which a spool is seen.

    Attributes:
        array_shape: Length of the three axes of the array that was spooled.
        axes: As `Spool.axes`.
        transform: (3, 2) float64, for each array axis the axis of the view and whether it runs forwards (1) or
            backwards (-1), as in `nibabel.orientations`.
    """

    array_shape: tuple[int, int, int]
    axes: tuple[int, ...]
    transform: NDArray[np.float64] = field(default_factory=lambda: AS_STORED)

    def reoriented(self, affine: NDArray[np.float64], codes: str) -> tuple[SpoolView, NDArray[np.float64]]:
        """Return the view of another orientation, and its affine.

        Args:
            affine: (4, 4), of this view.
            codes: For example "SLP".
        """
        further, moved = reorientation(affine, self.shape, codes)
        steps = further[self.transform[:, 0].astype(int)]
        transform = np.stack([steps[:, 0], self.transform[:, 1] * steps[:, 1]], axis=1)
        return replace(self, transform=transform), moved

    @property
    def shape(self) -> tuple[int, int, int]:
        """Length of the view's axes: (slices, rows, columns)."""
        slices, rows, columns = np.array(self.array_shape)[np.argsort(self.transform[:, 0])].tolist()
        return slices, rows, columns

    def position(self, index: int, source: str) -> int:
        """Return the place in the spool of a slice of the view.

        Raises:
            FileFormatError: The spool is cut along another axis than the view's first.
        """
        axis, direction = self._from_spool[0]
        if axis != 0:
            raise FileFormatError(
                f"{source}: kept on the disk in slices along another axis; reorient it before reading"
            )
        return index if direction > 0 else self.shape[0] - 1 - index

    def turned(self, slices: NDArray[Any]) -> NDArray[Any]:
        """Turn a slice of each channel from the spool's axes to the view's.

        (channels, slower, faster) -> (channels, rows, columns)
        """
        block = np.moveaxis(slices[:, None], 0, -1)  # (1, slower, faster, channels)
        return np.moveaxis(orientations.apply_orientation(block, self._from_spool)[0], -1, 0)

    def turned_back(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Turn a slice from the view's axes to the spool's: (rows, columns) -> (slower, faster)."""
        back = orientations.ornt_transform(AS_STORED, self._from_spool)
        block: NDArray[Any] = orientations.apply_orientation(plane[None], back)  # (1, slower, faster)
        return block[0]

    @cached_property
    def _from_spool(self) -> NDArray[np.float64]:
        """As `transform`, for the axes in the spool's order."""
        return self.transform[list(self.axes)]


@dataclass(frozen=True, eq=False)
class SpooledVolume(Scan):
    """A scan on the disk, whose slices can be read in the orientation that it was cut for, whatever its file's is.

    Attributes:
        spools: The stored numbers of each channel, cut along `slice_axis_of` the file's affine.
        view: The orientation in which `affine`, `shape` and slices are given.
        affine, slope, intercept, spacing_known, source: As `Volume`.
    """

    spools: tuple[Spool, ...]
    view: SpoolView
    affine: NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0
    spacing_known: bool = True
    source: str = "volume"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return self.view.shape

    @property
    def channels(self) -> int:
        """The number of channels."""
        return len(self.spools)

    def stored(self, index: int) -> NDArray[Any]:
        """Read one slice in stored numbers, (channels, rows, columns).

        Raises:
            OutputError: The temporary file cannot be read.
        """
        position = self.view.position(index, self.source)
        return self.view.turned(np.stack([spool.read_slice(position) for spool in self.spools]))

    def reoriented(self, codes: str = TRAINING_ORIENTATION) -> SpooledVolume:
        """Return the same scan seen in another orientation; nothing is read."""
        view, affine = self.view.reoriented(self.affine, codes)
        return replace(self, view=view, affine=affine)

    def empty_mask(self) -> SpooledLabelMap:
        """Make a mask of background on this grid, on the disk beside the scan."""
        labels = Spool(
            self.view.array_shape, np.dtype(np.uint8), slice_axis=self.view.axes[0], folder=self.spools[0].folder
        )
        return SpooledLabelMap(labels, self.view, self.affine, spacing_known=self.spacing_known, source=self.source)


@dataclass(frozen=True, eq=False)
class SpooledLabelMap(Mask):
    """A mask on the disk, filled slice by slice as its scan is cut, and read plane by plane in its scan's own axes.

    Attributes:
        spool: The labels, cut as the scan's spools are.
        view: The orientation in which `affine`, `shape` and slices are given.
        affine, spacing_known, source: As `LabelMap`.
    """

    spool: Spool
    view: SpoolView
    affine: NDArray[np.float64]
    spacing_known: bool = True
    source: str = "mask"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return self.view.shape

    @property
    def array(self) -> NDArray[np.uint8]:  # type: ignore[override]  # nobody assigns to it
        """The whole mask in memory, (slices, rows, columns); what is written there does not reach the disk."""
        stored = self.spool.read_planes(0, self.view.array_shape[2])
        labels: NDArray[np.uint8] = orientations.apply_orientation(stored, self.view.transform)
        return labels

    def get(self, index: int) -> NDArray[np.uint8]:
        """Read one slice, (rows, columns) uint8."""
        labels: NDArray[np.uint8] = self.spool.read_slice(self.view.position(index, self.source))
        return self.view.turned(labels[None])[0]

    def put(self, index: int, labels: NDArray[np.uint8]) -> None:
        """Write one slice, (rows, columns) uint8."""
        self.spool.write_slice(self.view.position(index, self.source), self.view.turned_back(labels))

    def planes(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the planes (axis 0, axis 1) along axis 2, with the axes of the scan's file."""
        first, second, planes = self.view.array_shape
        at_once = max(1, BLOCK_BYTES // (first * second))
        for start in range(0, planes, at_once):
            yield from np.moveaxis(self.spool.read_planes(start, min(start + at_once, planes)), -1, 0)

    def counts(self) -> NDArray[np.int64]:
        """Return how many voxels have each label, (256,)."""
        counts = np.zeros(256, np.int64)
        for plane in self.planes():
            counts += np.bincount(plane.ravel(order="K"), minlength=256)
        return counts

    def reoriented(self, codes: str = TRAINING_ORIENTATION) -> SpooledLabelMap:
        """Return the same mask seen in another orientation; what is put there lands here."""
        view, affine = self.view.reoriented(self.affine, codes)
        return replace(self, view=view, affine=affine)
