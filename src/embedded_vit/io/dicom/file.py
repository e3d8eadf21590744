"""The header of a DICOM file, and the slices that it describes.

pydicom parses. Only the tags named here are ever read, so that no text about a patient can come into a message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError
from embedded_vit.io.dicom.pixels import StoredBits, transfer_syntax, wordless_errors
from embedded_vit.io.limits import check_array_size, check_compressed_size
from embedded_vit.volume import AIR_HU

__all__ = ["DicomFile", "DicomSlice"]

STORED_DTYPES = {8: ("u1", "i1"), 16: ("u2", "i2"), 32: ("u4", "i4")}  # by bits: unsigned, signed
MOST_SLICE_PIXELS = 4096 * 4096
MOST_NUMBER = 1e28  # stored numbers of 32 bits times this still are finite in float32


@dataclass(frozen=True, eq=False)
class DicomSlice:
    """A slice: a file, or one frame of a file. Coordinates are in mm in LPS+, as DICOM has them.

    Attributes:
        path: Its file.
        frame: Its number in that file, from 0.
        shape: (rows, columns).
        dtype: Of its stored numbers, in native byte order.
        position: (3,) the centre of the first pixel.
        directions: (2, 3) unit vectors: along growing column numbers, and along growing row numbers.
        spacing_mm: Between neighbouring rows, and between neighbouring columns.
        thickness_mm: As the header states it, or None.
        slope, intercept: intensity = stored * slope + intercept; HU for CT.
        padding: The lowest and the highest stored number that stand for "nothing was measured here", or None.
        air: The stored number to put there: -1000 HU for CT, else 0.
        bits: Where in a stored word the number lies.
    """

    path: Path
    frame: int
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    position: NDArray[np.float64]
    directions: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    thickness_mm: float | None
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    air: int
    bits: StoredBits


@dataclass(frozen=True, eq=False)
class DicomFile:
    """The header of a file that holds an image.

    Attributes:
        path: The file.
        series: Its SeriesInstanceUID; empty where a tool removed it.
        number: Its SeriesNumber, or None.
        instance: Its InstanceNumber, or None.
        modality: "CT", "MR", another code of the standard, or "unknown".
        frames: The number of slices.
        placed: Whether it says where its slices lie.
        localizer: Whether it is a scout, which is planned on and is part of no volume.
        tags: What else was read.
    """

    path: Path
    series: str
    number: int | None
    instance: int | None
    modality: str
    frames: int
    placed: bool
    localizer: bool
    tags: pydicom.Dataset

    def slices(self) -> list[DicomSlice]:
        """Check the header and return its slices.

        Raises:
            FileFormatError: A tag is missing, is not a finite number or is out of range; the image is in colour; its
                numbers are not intensities; or the file is too short.
        """
        with wordless_errors(self.path):
            shape, dtype = self._array()
            return [self._slice(frame, shape, dtype) for frame in range(self._checked_frames())]

    def _checked_frames(self) -> int:
        placed = len(self.tags.get("PerFrameFunctionalGroupsSequence") or ()) or 1
        if self.frames != placed:
            raise FileFormatError(f"{self.path}: {self.frames} frames, but {placed} positions; export the series again")
        return self.frames

    def _array(self) -> tuple[tuple[int, int], np.dtype[Any]]:
        """Return shape and dtype of a slice; both are checked against the limits and the length of the file."""
        tags, source = self.tags, str(self.path)
        if "MOSAIC" in (tags.get("ImageType") or ()):
            raise FileFormatError(
                f"{source}: a Siemens mosaic, all slices of a volume in one picture; convert it with dcm2niix, and "
                "give the NIfTI file"
            )
        if tags.get("SamplesPerPixel", 1) != 1 or tags.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2"):
            # Both stand for the same intensities; which end is shown white is a viewer's business (PS3.3 C.7.6.3.1.2).
            raise FileFormatError(f"{source}: a colour image; a greyscale scan is expected")
        if tags.BitsAllocated not in STORED_DTYPES:
            raise FileFormatError(f"{source}: {tags.BitsAllocated} bits per pixel; 8, 16 or 32 are expected")
        dtype = np.dtype(STORED_DTYPES[tags.BitsAllocated][int(tags.PixelRepresentation == 1)])
        shape = (int(tags.Rows), int(tags.Columns))
        check_array_size((self.frames, *shape), dtype.itemsize, source)
        if math.prod(shape) > MOST_SLICE_PIXELS:
            raise FileFormatError(f"{source}: a slice of {shape[0]} x {shape[1]} pixels; no scanner makes it")
        needed, there = self.frames * math.prod(shape) * dtype.itemsize, self.path.stat().st_size
        syntax = transfer_syntax(tags, source)
        if syntax.is_compressed or syntax.is_deflated:
            check_compressed_size(there, needed, source)
        elif there < needed:
            raise FileFormatError(
                f"{source}: truncated: {there:,} bytes cannot hold the {needed:,} that the header announces; copy the "
                "file again"
            )
        return shape, dtype

    def _slice(self, frame: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> DicomSlice:
        directions = self._needed(frame, "PlaneOrientationSequence", "ImageOrientationPatient", 6).reshape(2, 3)
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        if np.abs(lengths - 1).max() > 0.01 or abs(directions[0] @ directions[1]) > 0.01:
            raise FileFormatError(f"{self.path}: ImageOrientationPatient is not a rotation; export the series again")
        row_mm, column_mm = self._needed(frame, "PixelMeasuresSequence", "PixelSpacing", 2).tolist()
        if min(row_mm, column_mm) <= 0:
            raise FileFormatError(f"{self.path}: the PixelSpacing is {row_mm:g}, {column_mm:g}; both must be above 0")
        thickness = self._numbers(frame, "PixelMeasuresSequence", "SliceThickness", 1)
        slope, intercept = self._scaling(frame)
        air = (AIR_HU - intercept) / slope if self.modality == "CT" else 0.0
        limits = np.iinfo(dtype)
        return DicomSlice(
            path=self.path,
            frame=frame,
            shape=shape,
            dtype=dtype,
            position=self._needed(frame, "PlanePositionSequence", "ImagePositionPatient", 3),
            directions=directions / lengths,
            spacing_mm=(row_mm, column_mm),
            thickness_mm=None if thickness is None else float(thickness[0]),
            slope=slope,
            intercept=intercept,
            padding=self._padding(dtype),
            bits=StoredBits.of(self.tags, str(self.path)),
            air=round(min(max(air, limits.min), limits.max)),
        )

    def _scaling(self, frame: int) -> tuple[float, float]:
        group = "PixelValueTransformationSequence"
        kind = str(self._value(frame, group, "RescaleType") or "HU").upper()
        if "ModalityLUTSequence" in self.tags or (self.modality == "CT" and not kind.startswith(("HU", "US"))):
            raise FileFormatError(f"{self.path}: not in HU (RescaleType, ModalityLUTSequence); export the series in HU")
        slope, intercept = (
            default if (values := self._numbers(frame, group, keyword, 1)) is None else float(values[0])
            for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
        )
        if slope == 0 or 1 / abs(slope) > MOST_NUMBER:
            raise FileFormatError(f"{self.path}: the RescaleSlope is {slope:g}, too near to 0; export the series again")
        return slope, intercept

    def _padding(self, dtype: np.dtype[Any]) -> tuple[int, int] | None:
        value = self.tags.get("PixelPaddingValue")
        if value is None:
            return None
        limit = self.tags.get("PixelPaddingRangeLimit")
        # Whether these two are written with a sign is often wrong: 63536 for -2000.
        ends = np.array([value, value if limit is None else limit], np.int64).astype(dtype).tolist()
        return min(ends), max(ends)

    def _value(self, frame: int, group: str, keyword: str) -> Any:
        """Return a tag of a frame: its own, else the one that all its file's frames share, else the file's."""
        for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
            for shared in (self.tags.get(groups) or ())[index : index + 1]:
                for item in (shared.get(group) or ())[:1]:
                    if keyword in item:
                        return item.get(keyword)
        return self.tags.get(keyword)

    def _numbers(self, frame: int, group: str, keyword: str, count: int) -> NDArray[np.float64] | None:
        value = self._value(frame, group, keyword)
        if value is None or value == "":
            return None
        numbers = np.atleast_1d(np.array(value, np.float64))
        if numbers.shape != (count,) or not (np.abs(numbers) < MOST_NUMBER).all():
            expected = "a finite number" if count == 1 else f"{count} finite numbers"
            raise FileFormatError(f"{self.path}: the {keyword} is not {expected}; export the series again")
        return numbers

    def _needed(self, frame: int, group: str, keyword: str, count: int) -> NDArray[np.float64]:
        numbers = self._numbers(frame, group, keyword, count)
        if numbers is None:
            raise FileFormatError(f"{self.path}: no {keyword}; export the series again")
        return numbers
