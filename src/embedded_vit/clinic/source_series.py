"""The series that a result is made of: whether DICOM can be made of it, and what is copied from it.

What a scanner or a tool for anonymous data left out is filled with an empty value where the standard allows one (type
2). UIDs of study, series and frame of reference are made from those of the images where they are missing, and that is
told. Values that the standard does not allow are left out.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from highdicom.enum import PatientSexValues
from numpy.typing import NDArray
from pydicom.valuerep import DA, TM

from embedded_vit.about import RESEARCH_USE_ONLY, __version__
from embedded_vit.boundary import one_line_errors
from embedded_vit.errors import FileFormatError, InputError, OutputError
from embedded_vit.io.atomic import atomic_path
from embedded_vit.io.dicom import DicomSource
from embedded_vit.io.dicom.references import SourceImages
from embedded_vit.io.dicom.wordless import without_words
from embedded_vit.io.scan_source import ScanSource
from embedded_vit.predict.predictor import Prediction

__all__ = [
    "EQUIPMENT",
    "MANUFACTURER",
    "dicom_source",
    "made_uid",
    "series_description",
    "usable_headers",
    "write_dicom",
]

MANUFACTURER = "Embedded-ViT"
EQUIPMENT: dict[str, Any] = {
    "manufacturer": MANUFACTURER,
    "manufacturer_model_name": "embedded-vit",
    "software_versions": __version__,
    "device_serial_number": "none",
}
NEEDED = {"SOPClassUID": "MediaStorageSOPClassUID", "SOPInstanceUID": "MediaStorageSOPInstanceUID"}  # its second place
MADE = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
MAY_BE_EMPTY = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
                "StudyTime", "ReferringPhysicianName")  # fmt: skip
MOST_CHARACTERS = 64  # of a description


def dicom_source(source: ScanSource, result: str) -> DicomSource:
    """Return the source of a scan as the DICOM series that it is.

    Raises:
        InputError: It is something else.
    """
    if isinstance(source, DicomSource):
        return source
    raise InputError(
        f"{source.source}: {source.format or 'no file'}; a DICOM {result} refers to the DICOM series that it was made "
        "from: give the folder of the series, or write the mask with --format nifti"
    )


def usable_headers(source: DicomSource) -> tuple[SourceImages, list[str]]:
    """Read the headers of a series, and make them usable for a new object.

    Returns:
        The headers; what had to be made up, a sentence.

    Raises:
        FileFormatError: A file cannot be read, or does not say which image it is.
    """
    images = source.source_images()
    for dataset in images.datasets:
        for keyword, in_meta in NEEDED.items():
            value = dataset.get(keyword) or dataset.file_meta.get(in_meta)
            if not value:
                raise FileFormatError(
                    f"{source.source}: an image without {keyword}, which a DICOM result refers to; export the series "
                    "again, or write the mask with --format nifti"
                )
            setattr(dataset, keyword, value)
        _fill(dataset)
    missing = [keyword for keyword in MADE if not all(dataset.get(keyword) for dataset in images.datasets)]
    for keyword in missing:
        uid = _uid([keyword, *(str(dataset.SOPInstanceUID) for dataset in images.datasets)])
        for dataset in images.datasets:
            setattr(dataset, keyword, uid)
    told = f"the series has no {', no '.join(missing)}: made up for the DICOM results, which an archive may file apart"
    return images, [told] if missing else []


def _fill(dataset: pydicom.Dataset) -> None:
    """Fill what is missing and may be empty, and empty what is not allowed."""
    for keyword in MAY_BE_EMPTY:
        if dataset.get(keyword) is None:
            setattr(dataset, keyword, "")
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(str(dataset.get(keyword)))
        except ValueError:
            setattr(dataset, keyword, "")
    if dataset.PatientSex not in {sex.value for sex in PatientSexValues}:
        dataset.PatientSex = ""


def write_dicom(path: Path, make: Callable[[], pydicom.Dataset]) -> None:
    """Make a DICOM object and write it, over what is there.

    Raises:
        OutputError: It cannot be made of this series, in one line without any text of it; or it cannot be written.
    """
    content, log = io.BytesIO(), logging.getLogger("highdicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)  # it quotes names of patients
    what, advice = "no DICOM result can be made of this series", "write the mask with --format nifti"
    try:
        with one_line_errors(path, OutputError, what=what, advice=advice, quoted=False), without_words():
            make().save_as(content, enforce_file_format=True)
    finally:
        log.setLevel(level)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_bytes(content.getbuffer())


def made_uid(
    kind: str, prediction: Prediction, images: SourceImages, content: NDArray[np.generic] | None = None
) -> str:
    """Return a UID that is the same whenever the same result is made of the same series by the same model.

    Args:
        kind: What it names.
        prediction: The result.
        images: The headers of the series.
        content: Pixels that the UID depends on too.

    Source: PS3.5 section B.2, UIDs below 2.25.
    """
    parts = [kind, __version__, prediction.model_sha256, *(str(dataset.SOPInstanceUID) for dataset in images.datasets)]
    return _uid(parts, b"" if content is None else np.ascontiguousarray(content).data.cast("B"))


def _uid(parts: Sequence[str], content: bytes | memoryview = b"") -> str:
    digest = hashlib.sha256("\n".join(parts).encode() + b"\n")
    digest.update(content)
    number = int.from_bytes(digest.digest()[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76  # the version of a UUID that is made by a rule of one's own,
    number = number & ~(0x3 << 62) | 0x2 << 62  # and its variant (RFC 9562)
    return f"2.25.{number}"


def series_description(prediction: Prediction, what: str) -> str:
    """Return the description of a series: first what it may be used for."""
    return f"{RESEARCH_USE_ONLY.partition('.')[0]}: {what} {prediction.model}"[:MOST_CHARACTERS]
