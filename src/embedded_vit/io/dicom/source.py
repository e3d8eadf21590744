"""A DICOM series as a scan: one volume out of the slices of its files.

The array's axes are column, row and slice, as they come in the files; only the world is turned, from DICOM's LPS+ to
RAS+. Which series of a folder is meant shows only when the headers of all its files were read. So a file is opened
twice: once for its header, and once, whole, for its pixels and its digest.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.errors import FileFormatError
from embedded_vit.io.base import ScanSource
from embedded_vit.io.dicom.frame_decoder import FrameDecoder
from embedded_vit.io.dicom.magic import holds_dicom
from embedded_vit.io.dicom.placement import place_slices
from embedded_vit.io.dicom.series import DicomSeries, digest_of_series, find_series, numbering_remark
from embedded_vit.io.spool import Spool, SpooledVolume, SpoolView, check_free_disk, slice_axis_of
from embedded_vit.volume import TRAINING_ORIENTATION, Volume

if TYPE_CHECKING:
    from embedded_vit.io.dicom.file import DicomSlice
    from embedded_vit.io.dicom.references import SourceImages

__all__ = ["DicomSource"]


class DicomSource(ScanSource):
    """A series whose slices are sorted, from the first to the last, along the normal of their plane.

    Where all slices are scaled alike, the volume holds the numbers that the files store. Where they are not, it holds
    intensities in float32.
    """

    format: ClassVar[str] = "DICOM"
    described: ClassVar[str] = "the folder of a DICOM series"

    def __init__(self, series: DicomSeries) -> None:
        """Sort the slices of a series and check that they are a volume.

        Raises:
            FileFormatError: As `DicomFile.slices` and `place_slices`.
        """
        self.source = str(series.folder)
        self.modality: str = series.modality
        self._series = series
        left_out = f"left out of the folder: {'; '.join(series.left_out)}" if series.left_out else ""
        try:
            self._slices, self._affine = place_slices(
                [piece for file in series.files for piece in file.slices()], self.source
            )
        except FileFormatError as error:
            raise FileFormatError(f"{error} ({left_out})") if left_out else error from None
        self.remarks = tuple(filter(None, (left_out, numbering_remark(series.files, self._slices))))
        self._scaled_alike = len({(piece.slope, piece.intercept) for piece in self._slices}) == 1
        self._digest_of_file: dict[Path, str] = {}

    @classmethod
    def takes(cls, path: Path) -> bool:
        """Whether a path is a folder."""
        return path.is_dir()

    @classmethod
    def is_scan(cls, path: Path) -> bool:
        """Whether a path is a folder that holds DICOM files, whatever their names."""
        return path.is_dir() and holds_dicom(path)

    @classmethod
    def open(cls, path: Path, *, modality: str | None, channels: int | None, series: int | None) -> Self:
        """Find the series that is meant and open it; it has one channel; `channels` is left aside."""
        return cls(find_series(path, modality=modality, number=series))

    @classmethod
    def open_together(cls, folders: Sequence[Path], *, modality: str | None, series: int | None) -> Self:
        """Open a series that is spread over several folders."""
        return cls(find_series(folders, modality=modality, number=series))

    @classmethod
    def open_uid(cls, folder: Path, uid: str | None) -> Self:
        """Open the series of a SeriesInstanceUID; without one the only series there is."""
        return cls(find_series(folder, uid=uid))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(columns, rows, slices)."""
        rows, columns = self._slices[0].shape
        return columns, rows, len(self._slices)

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, (column, row, slice) -> RAS+ mm."""
        return self._affine

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the volume: as stored, or float32 where the slices are not all scaled alike."""
        return self._slices[0].dtype if self._scaled_alike else np.dtype(np.float32)

    @property
    def volume_bytes(self) -> int:
        """Memory that the voxels take when `read` has read them."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> Volume:
        """Read the voxels into memory: (1, columns, rows, slices).

        Raises:
            FileFormatError: As `DicomPixels.decoded`, or a slice is not of the size and type that its header announces.
        """
        columns, rows, slices = self.shape
        array: NDArray[Any] = np.empty((1, slices, rows, columns), self.dtype)
        for index, plane in self._planes():
            array[0, index] = plane
        return Volume(array.transpose(0, 3, 2, 1), self.affine, *self._scaling, source=self.source)

    def spool(self, folder: Path | None = None, *, orientation: str = TRAINING_ORIENTATION) -> SpooledVolume:
        """Read the voxels into a temporary file; see `ScanSource.spool`."""
        check_free_disk(self.needed_bytes, folder)
        spool = Spool(self.shape, self.dtype, slice_axis=slice_axis_of(self.affine, orientation), folder=folder)
        for index, plane in self._planes():
            spool.write_planes(index, plane.T[..., None])  # (columns, rows, 1)
        view = SpoolView(self.shape, spool.axes)
        return SpooledVolume((spool,), view, self.affine, *self._scaling, source=self.source)

    def sha256(self) -> str:
        """Return the digest of the series, `digest_of_series`; files whose pixels were not read are read for it."""
        if self._digest_of_file:
            return digest_of_series(self._digest_of_file.values())
        return self._series.sha256()

    def source_images(self) -> SourceImages:
        """Read the headers of the files again, with the fields of patient and study; no pixels.

        Raises:
            FileFormatError: As `read_source_images`.
        """
        from embedded_vit.io.dicom.references import read_source_images

        return read_source_images(self._slices)

    @property
    def _scaling(self) -> tuple[float, float]:
        """Slope and intercept of the volume's numbers."""
        return (self._slices[0].slope, self._slices[0].intercept) if self._scaled_alike else (1.0, 0.0)

    def _planes(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield each slice's place and its numbers, (rows, columns) of `dtype`; file by file, in any order."""
        of_file = defaultdict(list)
        for index, piece in enumerate(self._slices):
            of_file[piece.path].append(index)
        digests: dict[Path, str] = {}
        with FrameDecoder() as apart:
            for path, indices in of_file.items():
                yield from self._planes_of(path, indices, digests, apart)  # which forgets a file before the next one
        self._digest_of_file = digests

    def _planes_of(
        self, path: Path, indices: Sequence[int], digests: dict[Path, str], apart: FrameDecoder
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the slices of a file, and put its digest into `digests`."""
        from embedded_vit.io.dicom.pixels import read_pixels

        pixels = read_pixels(path)
        digests[path] = pixels.sha256
        decoded = pixels.decoded((self._slices[index].frame for index in indices), apart)
        for index, stored in zip(indices, decoded, strict=True):
            yield index, self._as_expected(self._slices[index], stored)

    def _as_expected(self, piece: DicomSlice, stored: NDArray[Any]) -> NDArray[Any]:
        """Return a decoded slice in the numbers of the volume, its padding made air."""
        if stored.shape != piece.shape or not np.can_cast(stored.dtype, piece.dtype):
            raise FileFormatError(f"{piece.path}: the slice is not what its header announces; copy the file again")
        words, stored = stored, piece.bits.right_aligned(stored)
        if piece.padding is not None:  # which often has more bits than the numbers
            low, high = piece.padding
            stored = np.where((words >= low) & (words <= high), piece.dtype.type(piece.air), stored)
        if self._scaled_alike:
            return stored
        return (stored * piece.slope + piece.intercept).astype(np.float32)
