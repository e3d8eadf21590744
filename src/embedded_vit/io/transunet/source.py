"""The image of a TransUNet volume as a scan."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.errors import FileFormatError
from embedded_vit.io.base import ScanSource
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.spool import Spool, SpooledVolume, SpoolView, check_free_disk, slice_axis_of
from embedded_vit.io.transunet.arrays import StoredRange, finite, volume_of
from embedded_vit.io.transunet.volume import VOLUME_SUFFIXES, dtype_in_memory, open_h5, read_h5_array
from embedded_vit.volume import TRAINING_ORIENTATION, UPRIGHT_AFFINE, Volume

__all__ = ["H5Source"]


class H5Source(ScanSource):
    """An HDF5 file that stands open, with `image` (slices, rows, columns) in it.

    HDF5 seeks: the voxels of a file need not follow each other, and it opens files itself. So the digest is not taken
    while the voxels are read. `sha256` reads the file a second time, after `read` as a rule from the system's cache.
    """

    format: ClassVar[str] = "h5"
    described: ClassVar[str] = "a TransUNet .h5 file"
    suffixes: ClassVar[tuple[str, ...]] = VOLUME_SUFFIXES

    def __init__(self, path: str | Path) -> None:
        """Open a file; errors as `open_h5`."""
        self.source = str(path)
        self._opened = ExitStack()
        self._dataset = self._opened.enter_context(open_h5(path, "image"))
        slices, rows, columns = self._dataset.shape
        self._shape = (int(slices), int(rows), int(columns))
        self._dtype = dtype_in_memory(self._dataset)
        self._digest: str | None = None

    @classmethod
    def open(cls, path: Path, *, modality: str | None, channels: int | None, series: int | None) -> Self:
        """Open a scan; it has one channel; the arguments say nothing about it."""
        return cls(path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return self._shape

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, (slice, row, column) -> RAS+, in voxels."""
        return UPRIGHT_AFFINE

    @property
    def volume_bytes(self) -> int:
        """Memory that the voxels take when `read` has read them."""
        return math.prod(self._shape) * self._dtype.itemsize

    def read(self) -> Volume:
        """Read the voxels into memory, (1, slices, rows, columns); a mask in the file is left alone."""
        with self._opened:
            image = read_h5_array(self._dataset)
        return volume_of(finite(image, self.source), self.source)

    def spool(self, folder: Path | None = None, *, orientation: str = TRAINING_ORIENTATION) -> SpooledVolume:
        """Read the voxels into a temporary file; see `ScanSource.spool`."""
        if slice_axis_of(UPRIGHT_AFFINE, orientation) != 0:
            raise FileFormatError(
                f"{self.source}: lies in axial slices, which are not cut anew on the disk; allow more memory (--memory)"
            )
        with self._opened:
            check_free_disk(self.needed_bytes, folder)
            spool = Spool(self._shape, self._dtype, slice_axis=0, folder=folder)
            found = StoredRange()
            at_once = self._dataset.chunks[0] if self._dataset.chunks else 1  # slices that HDF5 decompresses together
            for start in range(0, self._shape[0], at_once):
                block = finite(self._dataset[start : start + at_once], self.source)  # (slices, rows, columns)
                for index, plane in enumerate(block, start):
                    spool.write_slice(index, plane.T)
                found.add(block)
        return SpooledVolume(
            (spool,),
            SpoolView(self._shape, spool.axes),
            UPRIGHT_AFFINE,
            *found.scaling(self.source),
            spacing_known=False,
            source=self.source,
        )

    def sha256(self) -> str:
        """Return the SHA-256 of the file, which is read for it once more."""
        if self._digest is None:
            self._digest = sha256_of(self.source)
        return self._digest

    def close(self) -> None:
        """Close the file."""
        self._opened.close()
