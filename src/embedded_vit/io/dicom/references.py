"""The headers of a series' files, for DICOM objects that are made from it.

Here alone are the fields of patient and study read. They go from the source's files into the files of `clinic`, and
nowhere else; so they are read when such a file is written, and not with the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom

from embedded_vit.counted import counted
from embedded_vit.errors import FileFormatError
from embedded_vit.io.dicom.header import read_tags
from embedded_vit.io.dicom.pixels import wordless_errors

if TYPE_CHECKING:
    from embedded_vit.io.dicom.file import DicomSlice

__all__ = ["SourceImages", "read_source_images"]

PATIENT_AND_STUDY = [
    "SpecificCharacterSet", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex",
    "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod",
    "StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName",
]  # fmt: skip
IMAGE = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "Modality", "ImageType",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "Rows", "Columns", "NumberOfFrames",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "DimensionOrganizationSequence",
    "DimensionIndexSequence",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class SourceImages:
    """The headers of the files of a volume.

    Attributes:
        datasets: A header a file, without pixels; of single images in the order of the volume's slices.
        planes: For each slice of the volume its place among all images of `datasets`.
    """

    datasets: Sequence[pydicom.Dataset]
    planes: Sequence[int]


def read_source_images(slices: Sequence[DicomSlice]) -> SourceImages:
    """Read the headers of the files that slices lie in, their fields of patient and study included.

    Args:
        slices: Of a volume, in its order.

    Raises:
        FileFormatError: A file cannot be read any more, or the volume is spread over several files of many frames.
    """
    paths = list(dict.fromkeys(piece.path for piece in slices))
    if len(paths) > 1 and len(paths) < len(slices):
        raise FileFormatError(
            f"{paths[0].parent}: {len(slices)} frames in {counted(len(paths), 'file')}; a DICOM segmentation "
            "refers to single "
            "images, or to one file of many frames: write the mask as NIfTI, --format nifti"
        )
    planes = [piece.frame for piece in slices] if len(paths) == 1 else list(range(len(slices)))
    return SourceImages([_read(path) for path in paths], planes)


def _read(path: Path) -> pydicom.Dataset:
    with wordless_errors(path):
        dataset = read_tags(path, [*PATIENT_AND_STUDY, *IMAGE])
        for keyword in PATIENT_AND_STUDY:  # decoded while their character set is known
            dataset.get(keyword)
        return dataset
