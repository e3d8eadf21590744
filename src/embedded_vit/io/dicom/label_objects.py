"""Labels beside a DICOM series: segmentations (SEG) and structure sets of radiotherapy (RTSTRUCT).

What a file is shows in its first bytes; so the label files among thousands of slices are found without parsing these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedded_vit.boundary import PASSED_ON
from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.dicom.magic import files_of

if TYPE_CHECKING:
    import pydicom

__all__ = ["LabelObject", "find_label_files", "modality_beside", "one_line", "read_label_object"]

SEG_CLASS, RTSTRUCT_CLASS = b"1.2.840.10008.5.1.4.1.1.66.4", b"1.2.840.10008.5.1.4.1.1.481.3"
CLASS_WITHIN = 1024  # bytes from the start, where the file meta information is
# Contours that are no structure of the body (PS3.3 C.8.8.8.1).
NO_STRUCTURES = {"EXTERNAL", "SUPPORT", "FIXATION", "MARKER", "ISOCENTER", "REGISTRATION", "DOSE_REGION", "CONTROL",
                 "BOLUS", "TREATED_VOLUME", "IRRAD_VOLUME"}  # fmt: skip
DAMAGED = "damaged, or not a SEG or RTSTRUCT that is read; export it again"


@dataclass(frozen=True)
class LabelObject:
    """What a label file says before its masks are made.

    Attributes:
        path: The file.
        kind: "SEG" or "RTSTRUCT".
        numbers: Name of a structure -> its number in the file.
        series: SeriesInstanceUID of the series that it was drawn on; None where the file does not say it.
    """

    path: Path
    kind: str
    numbers: Mapping[str, int]
    series: str | None


def find_label_files(folder: Path) -> list[Path]:
    """Return the SEG and RTSTRUCT files in a folder and below, by their first bytes."""
    return [path for path in files_of(folder) if _is_labels(path)]


def modality_beside(folder: Path) -> str | None:
    """Return the modality of the first image in a folder and below; None where there is none."""
    import pydicom

    for path in files_of(folder):
        if not _is_labels(path):
            try:
                with one_line(path):
                    tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality", "PixelSpacing"])
            except FileFormatError:  # another file; who reads the series says what is wrong
                continue
            if tags.get("PixelSpacing") is not None:
                return str(tags.get("Modality", ""))
    return None


def read_label_object(path: Path) -> LabelObject:
    """Read which structures a label file holds.

    Raises:
        FileFormatError: It is damaged, or pydicom is not installed.
    """
    with one_line(path):
        import pydicom

        tags = pydicom.dcmread(path, stop_before_pixels=True)
        if tags.Modality == "SEG":
            numbers = {str(each.SegmentLabel).strip(): int(each.SegmentNumber) for each in tags.SegmentSequence}
            references = [str(each.SeriesInstanceUID) for each in tags.get("ReferencedSeriesSequence", [])]
        else:
            left_out = {
                int(each.ReferencedROINumber)
                for each in tags.get("RTROIObservationsSequence", [])
                if str(each.get("RTROIInterpretedType", "")).upper() in NO_STRUCTURES
            }
            numbers = {
                str(each.ROIName).strip(): int(each.ROINumber)
                for each in tags.StructureSetROISequence
                if int(each.ROINumber) not in left_out
            }
            references = [str(each) for each in _referenced(tags)]
        numbers.pop("", None)
        return LabelObject(path, str(tags.Modality), numbers, references[0] if references else None)


@contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turn whatever a damaged label file leads to into one line, without text of the file."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise FileFormatError(f"{path}: labels in DICOM; {missing_extra(str(error.name), 'dicom')}") from error
    except PASSED_ON:
        raise
    except Exception as error:  # pydicom and highdicom raise whatever a damaged tag leads to
        raise FileFormatError(f"{path}: {DAMAGED}") from error


def _referenced(tags: pydicom.Dataset) -> Iterator[Any]:
    """Yield the UIDs of the series that a structure set was drawn on."""
    for frame in tags.get("ReferencedFrameOfReferenceSequence", []):
        for study in frame.get("RTReferencedStudySequence", []):
            for series in study.get("RTReferencedSeriesSequence", []):
                yield series.SeriesInstanceUID


def _is_labels(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(CLASS_WITHIN)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    return any(start.find(kind + end) >= 0 for kind in (SEG_CLASS, RTSTRUCT_CLASS) for end in (b"\0", b"\x02"))
