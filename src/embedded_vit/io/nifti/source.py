"""A NIfTI file as a scan: header and voxels in one pass over the file.

A volume keeps the numbers, the dtype and the axis order of its file; nothing is reoriented here. Voxels are read a few
planes at a time, into one array or onto the disk, so that memory stays at the size of the volume or far below it, and a
`.nii.gz` is read to its very end, where gzip's checksum is: a flipped bit anywhere is noticed.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.io.base import ScanSource
from embedded_vit.io.nifti.geometry import NiftiGeometry
from embedded_vit.io.nifti.pair import PAIR_SUFFIXES, is_pair, looks_like_pair
from embedded_vit.io.nifti.read import read_labels
from embedded_vit.io.nifti.stream import SUFFIXES, open_nifti, open_voxels
from embedded_vit.io.spool import Spool, SpooledVolume, SpoolView, check_free_disk, slice_axis_of
from embedded_vit.volume import TRAINING_ORIENTATION, LabelMap, Volume

__all__ = ["NiftiSource", "read_volume"]


class NiftiSource(ScanSource):
    """A NIfTI file that stands open at its first voxel."""

    format: ClassVar[str] = "NIfTI"
    described: ClassVar[str] = "a NIfTI file (.nii.gz, .nii)"
    suffixes: ClassVar[tuple[str, ...]] = (*SUFFIXES, *PAIR_SUFFIXES)
    data_suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def __init__(self, path: str | Path, *, channels: int | None = None) -> None:
        """Open a file and read its header; arguments and errors as `open_voxels`."""
        self._path = path
        self._opened = ExitStack()
        self._stream = self._opened.enter_context(open_voxels(path, channels))
        self._digest: str | None = None
        self.source = self._stream.source
        self.channels = self._stream.channels
        self.remarks = self._stream.geometry.remarks

    @classmethod
    def is_scan(cls, path: Path) -> bool:
        """Whether a path is a NIfTI file by its name, or the header of a NIfTI pair by its content."""
        return looks_like_pair(path) if is_pair(path) else cls.takes(path)

    @classmethod
    def open(cls, path: Path, *, modality: str | None, channels: int | None, series: int | None) -> Self:
        """Open a scan; `modality` and `series` say nothing about a NIfTI file."""
        return cls(path, channels=channels)

    @classmethod
    def read_mask(cls, path: Path) -> LabelMap:
        """Read a mask; see `ScanSource.read_mask`."""
        return read_labels(path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Length of the three array axes."""
        first, second, third = self._stream.shape[:3]
        return first, second, third

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, array index -> RAS+ mm."""
        return self._stream.geometry.affine

    @cached_property
    def geometry(self) -> NiftiGeometry:
        """The header's own fields; where there are several channels, without their axis."""
        geometry = self._stream.geometry
        if self.channels == 1:
            return geometry
        header = geometry.header.copy()
        header.set_data_shape(self.shape)  # a mask has no channels
        return replace(geometry, header=header)

    @property
    def volume_bytes(self) -> int:
        """Memory that the voxels take when `read` has read them."""
        return self._stream.volume_bytes

    def read(self) -> Volume:
        """Read the voxels into memory, in the file's dtype and native byte order."""
        stream = self._stream
        with self._opened:
            array = stream.read_array(stream.finite_blocks())
            self._digest = stream.sha256()
        self.remarks += tuple(stream.after)
        return Volume(array, self.affine, stream.slope, stream.intercept, source=self.source)

    def spool(self, folder: Path | None = None, *, orientation: str = TRAINING_ORIENTATION) -> SpooledVolume:
        """Read the voxels into temporary files; see `ScanSource.spool`."""
        stream = self._stream
        with self._opened:
            check_free_disk(self.needed_bytes, folder)
            slice_axis = slice_axis_of(self.affine, orientation)
            spools = tuple(
                Spool(self.shape, stream.dtype, slice_axis=slice_axis, folder=folder) for _ in range(self.channels)
            )
            for channel, start, planes in stream.finite_blocks():
                spools[channel].write_planes(start, planes)
            self._digest = stream.sha256()
        self.remarks += tuple(stream.after)
        view = SpoolView(self.shape, spools[0].axes)
        return SpooledVolume(spools, view, self.affine, stream.slope, stream.intercept, source=self.source)

    def sha256(self) -> str:
        """Return the SHA-256 of the file, taken while the voxels were read; before that, the file is read for it."""
        if self._digest is None:
            with open_nifti(self._path) as (_, raw):
                self._digest = raw.hexdigest()
        return self._digest

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


def read_volume(path: str | Path, *, channels: int = 1) -> Volume:
    """Read a scan.

    Args:
        path: A `.nii` or `.nii.gz` file: 3-D, or 4-D with its channels on the last axis (BraTS of the Decathlon).
        channels: How many channels are expected; trailing axes of length one are tolerated.

    Returns:
        The volume in the file's dtype and axis order; `slope` and `intercept` as the header states them.

    Raises:
        FileFormatError: The file is unreadable, truncated, damaged, too large, of another kind, not finite, or has
            another number of axes or channels.
    """
    return NiftiSource(path, channels=channels).read()
