"""The header of one file of a DICOM folder: of an image, or why the file is passed over.

A folder that a scanner, an archive or a person left holds more than slices: structure sets, segmentations, reports,
pictures, an index. None of these may hide a good series, and none is left out without a word.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom import uid

from embedded_vit.errors import FileFormatError
from embedded_vit.io.dicom.file import DicomFile
from embedded_vit.io.dicom.magic import MAGIC, PREAMBLE_BYTES, is_bare
from embedded_vit.io.dicom.pixels import DECOMPRESS, PIXEL_TAGS, wordless_errors

__all__ = ["PassedOver", "read_file", "read_tags"]

TAGS = [*PIXEL_TAGS, "SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber",
        "PixelPaddingValue", "PixelPaddingRangeLimit", "ModalityLUTSequence", "RescaleType", "RescaleSlope",
        "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]  # fmt: skip
MODALITIES = {"CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "OT", "SC", "SEG", "RTDOSE"}
HAVE_PIXELS = {uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage,
               uid.MRImageStorage, uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage,
               uid.PositronEmissionTomographyImageStorage}  # fmt: skip
MOST_INFLATED_BYTES = 1 << 28  # of a deflated file; a slice of 4096 x 4096 pixels is an eighth


@dataclass(frozen=True, eq=False)
class PassedOver:
    """A file that holds no image, or none that can be read.

    Attributes:
        path: The file.
        reason: What it is, as a noun: "an empty file", "RT Structure Set Storage".
        series: Its SeriesInstanceUID; empty where it is not known.
        error: Of a damaged file that may be a slice; None of what is no slice.
    """

    path: Path
    reason: str
    series: str = ""
    error: FileFormatError | None = None


class _DeflatedTooFarError(FileFormatError):
    """A deflated file that is larger than any slice."""


class _HeaderReader(io.BufferedReader):
    """A file of which only the header may be read, unless it is deflated."""

    def read(self, size: int | None = -1) -> bytes:
        """Read some bytes."""
        content = super().read(size)
        # pydicom asks for all that is left in order to inflate it, and for nothing else. It may grow a thousandfold.
        if (size is None or size < 0) and _inflates_beyond(content, MOST_INFLATED_BYTES):
            raise _DeflatedTooFarError(f"{self.name}: a deflated file larger than a slice; {DECOMPRESS}")
        return content


def _inflates_beyond(deflated: bytes, limit: int) -> bool:
    inflater, length, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, deflated
    while rest and not inflater.eof and length <= limit:
        length += len(inflater.decompress(rest, 1 << 20))
        rest = inflater.unconsumed_tail
    return length > limit


def read_file(path: Path) -> DicomFile | PassedOver:
    """Read the header of a file.

    Raises:
        FileFormatError: The file cannot be read.
    """
    tags = pydicom.Dataset()
    try:
        with wordless_errors(path), open(path, "rb", buffering=0) as file, _HeaderReader(file) as header:
            start = header.read(PREAMBLE_BYTES + len(MAGIC))
            if not start:
                return PassedOver(path, "empty file")
            bare = start[PREAMBLE_BYTES:] != MAGIC
            if bare and not is_bare(start):
                return PassedOver(path, "file that is not DICOM")
            header.seek(0)
            tags = pydicom.dcmread(header, stop_before_pixels=True, specific_tags=list(TAGS), force=bare)
        with wordless_errors(path):
            return _file_of(path, tags)
    except _DeflatedTooFarError as error:
        return PassedOver(path, "deflated file larger than a slice", error=error)
    except FileFormatError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return _damaged(path, tags, error)


def read_tags(path: Path, keywords: Sequence[str]) -> pydicom.Dataset:
    """Read some tags of a file whose header was read before; not its pixels.

    Raises:
        FileFormatError: The file cannot be read any more.
    """
    with wordless_errors(path), open(path, "rb", buffering=0) as file, _HeaderReader(file) as header:
        return pydicom.dcmread(header, stop_before_pixels=True, specific_tags=list(keywords), force=True)


def _damaged(path: Path, tags: pydicom.Dataset, error: FileFormatError) -> PassedOver:
    """Return what is known of a damaged file: its series, and whether it may be a slice."""
    series = kind = ""
    with suppress(Exception):  # pydicom raises whatever a damaged tag leads to
        series = _series_of(tags)
    with suppress(Exception):
        kind = str(tags.file_meta.get("MediaStorageSOPClassUID"))
    return PassedOver(path, "truncated or damaged file", series, error if kind in HAVE_PIXELS else None)


def _file_of(path: Path, tags: pydicom.Dataset) -> DicomFile | PassedOver:
    """Return what a header says.

    Raises:
        FileFormatError: It is the header of an image, and says no size.
    """
    if not tags.get("Rows") or not tags.get("Columns"):
        kind = tags.get("SOPClassUID") or tags.file_meta.get("MediaStorageSOPClassUID")
        if kind is None or kind in HAVE_PIXELS:
            raise FileFormatError(f"{path}: truncated or damaged: no Rows or Columns; copy the file again")
        name = uid.UID(kind).name
        return PassedOver(
            path, "DICOM file of an unknown kind, or truncated" if name == kind else name.removesuffix(" Storage")
        )
    number, modality = tags.get("SeriesNumber"), tags.get("Modality")
    return DicomFile(
        path=path,
        series=_series_of(tags),
        number=None if number is None else int(number),
        instance=None if tags.get("InstanceNumber") is None else int(tags.InstanceNumber),
        modality=modality if modality in MODALITIES else "unknown",
        frames=int(tags.get("NumberOfFrames") or 1),
        placed=bool(tags.get("ImagePositionPatient")) or "PerFrameFunctionalGroupsSequence" in tags,
        localizer="LOCALIZER" in (tags.get("ImageType") or ()),
        tags=tags,
    )


def _series_of(tags: pydicom.Dataset) -> str:
    return str(tags.get("SeriesInstanceUID") or "")
