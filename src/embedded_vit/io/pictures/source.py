"""A picture as a scan of one slice.

Intensities are shares of the full scale: the whitest white that the file's bit depth can store is 1. The array's axes
are slice, row and column. Rows run downwards, to posterior, and columns to the right of the picture, to the patient's
left: so a picture is seen as a slice is. Where a file does not say the size of its pixels, lengths are in pixels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.errors import FileFormatError
from embedded_vit.io.base import ScanSource
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.label_values import labels_from
from embedded_vit.io.pictures.decode import NO_ALPHA, read_header, read_mask_pixels, read_pixels
from embedded_vit.io.spool import Spool, SpooledVolume, SpoolView, check_free_disk, slice_axis_of
from embedded_vit.volume import TRAINING_ORIENTATION, LabelMap, Volume

__all__ = ["PictureSource", "is_picture"]

SUFFIXES = (".jpeg", ".tiff", ".png", ".jpg", ".tif", ".bmp", ".gif", ".ppm", ".pgm")
GREY_REPEATED = "a grey picture, whose one channel is taken for each of the {} colours"


def is_picture(path: Path) -> bool:
    """Whether a path is a picture, by its name."""
    return PictureSource.takes(path)


class PictureSource(ScanSource):
    """A picture file whose header was read."""

    format: ClassVar[str] = "picture"
    described: ClassVar[str] = "a picture (.png, .jpg, .tif, .bmp, .gif, .ppm)"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    data_suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def __init__(self, path: Path, *, channels: int | None = None) -> None:
        """Read a file's header.

        Args:
            path: The file.
            channels: How many are expected. A grey picture is repeated for them; colours that are all equal are one.

        Raises:
            FileFormatError: It is not a picture that is read.
        """
        self.source, self.modality = str(path), "picture"
        self._path, self._header = path, read_header(path)
        self._wanted = channels
        self._digest: str | None = None
        self.channels = self._header.channels
        self.remarks = tuple(f"{path.name}: {remark}" for remark in self._header.remarks)
        if channels is not None and channels > 1 and self.channels == 1:
            self.channels = channels
            self.remarks += (f"{path.name}: {GREY_REPEATED.format(channels)}",)
        elif channels == 1:
            self.channels = 1

    @classmethod
    def open(cls, path: Path, *, modality: str | None, channels: int | None, series: int | None) -> Self:
        """Open a picture; `modality` and `series` say nothing about it."""
        return cls(path, channels=channels)

    @classmethod
    def read_mask(cls, path: Path) -> LabelMap:
        """Read a mask: the number of each pixel is its label; see `ScanSource.read_mask`."""
        pixels = read_mask_pixels(path)
        labels = labels_from(pixels, str(path))[None]
        pixel_mm = read_header(path).pixel_mm
        return LabelMap(labels, picture_affine(pixel_mm), spacing_known=pixel_mm is not None, source=str(path))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, height, width)."""
        return 1, *self._header.size

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, (slice, row, column) -> RAS+ mm, or pixels."""
        return picture_affine(self._header.pixel_mm)

    @property
    def volume_bytes(self) -> int:
        """Memory that the pixels take when `read` has read them."""
        return self.channels * math.prod(self.shape) * self._header.dtype.itemsize

    def read(self) -> Volume:
        """Read the pixels into memory: (channels, 1, height, width)."""
        picture = read_pixels(self._path)
        self._digest = picture.sha256
        if picture.transparent:
            self.remarks += (f"{self._path.name}: {NO_ALPHA}",)
        pixels = self._as_wanted(picture.pixels)
        return Volume(
            pixels[:, None],
            self.affine,
            slope=1 / np.iinfo(pixels.dtype).max,
            spacing_known=self._header.pixel_mm is not None,
            source=self.source,
        )

    def spool(self, folder: Path | None = None, *, orientation: str = TRAINING_ORIENTATION) -> SpooledVolume:
        """Read the pixels and put them into temporary files; see `ScanSource.spool`."""
        check_free_disk(self.needed_bytes, folder)
        volume = self.read()
        slice_axis = slice_axis_of(self.affine, orientation)
        spools = []
        for channel in volume.array:  # (1, height, width)
            spool = Spool(self.shape, channel.dtype, slice_axis=slice_axis, folder=folder)
            spool.write_planes(0, channel)
            spools.append(spool)
        view = SpoolView(self.shape, spools[0].axes)
        return SpooledVolume(
            tuple(spools), view, self.affine, volume.slope, spacing_known=volume.spacing_known, source=self.source
        )

    def sha256(self) -> str:
        """Return the SHA-256 of the file, taken while the pixels were read; before that, the file is read for it."""
        if self._digest is None:
            self._digest = sha256_of(self._path)
        return self._digest

    def _as_wanted(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return (channels, height, width) with the channels that are expected.

        Raises:
            FileFormatError: One channel is expected, and the picture is coloured.
        """
        if self._wanted == 1 and len(pixels) > 1:
            if (pixels != pixels[:1]).any():
                raise FileFormatError(f"{self.source}: a coloured picture; one grey channel is expected: convert it")
            return pixels[:1]
        return np.repeat(pixels, self.channels, axis=0) if len(pixels) == 1 else pixels


def picture_affine(pixel_mm: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return where pixels lie, (slice, row, column) -> RAS+ mm; a slice is as thick as a pixel is wide on average.

    Args:
        pixel_mm: Height and width of a pixel; None counts in pixels.
    """
    height, width = pixel_mm or (1.0, 1.0)
    return np.array([[0, 0, -width, 0], [0, -height, 0, 0], [(height + width) / 2, 0, 0, 0], [0, 0, 0, 1]], np.float64)
