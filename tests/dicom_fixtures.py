"""DICOM series to test with, made by pydicom: of patients who do not exist, with text that must never show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

SECRET = "Mustfrau"
AXIAL = (1, 0, 0, 0, 1, 0)


def make_slice(stored: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> Dataset:
    """A CT slice of (rows, columns) stored numbers; `tags` override or, where None, are left out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": dataset.file_meta.MediaStorageSOPInstanceUID,
        "PatientName": f"{SECRET}^Erika",
        "PatientID": SECRET,
        "SeriesDescription": f"abdomen {SECRET}",
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "StudyInstanceUID": "1.2.4",
        "SeriesInstanceUID": "1.2.3",
        "FrameOfReferenceUID": "1.2.5",
        "SeriesNumber": 4,
        "ImagePositionPatient": [-100, -120, 30],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.8, 0.6],
        "SliceThickness": 3,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "BitsAllocated": 8 * stored.itemsize,
        "BitsStored": 8 * stored.itemsize,
        "HighBit": 8 * stored.itemsize - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    } | tags
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    big_endian = syntax == ExplicitVRBigEndian
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
    dataset["PixelData"].VR = "OB" if stored.itemsize == 1 else "OW"
    if syntax in (JPEG2000Lossless, RLELossless):
        dataset.compress(UID(syntax), generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    return dataset


def write_series(
    folder: Path,
    stored: np.ndarray,
    *,
    step: Sequence[float] = (0, 0, 2.5),
    start: Sequence[float] = (-100, -120, 30),
    prefix: str = "IM",
    **tags: Any,
) -> list[Path]:
    """Write (slices, rows, columns) stored numbers, one file per slice, each `step` mm (LPS+) from the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, plane in enumerate(stored):
        position = (np.array(start) + index * np.array(step)).round(6).tolist()
        paths.append(folder / f"{prefix}{97 - index:03d}")  # names in another order than places
        dataset = make_slice(plane, **({"ImagePositionPatient": position} | tags))
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_enhanced(
    path: Path, stored: np.ndarray, *, heights_mm: Sequence[float], intercepts: Sequence[float], **tags: Any
) -> None:
    """Write (frames, rows, columns) stored numbers as one file, each frame at its height, with its intercept."""

    def item(**values: Any) -> Dataset:
        dataset = Dataset()
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        return dataset

    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelMeasuresSequence=[item(PixelSpacing=[0.8, 0.6], SliceThickness=3)],
    )
    frames = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[-100, -120, height])],
            PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=intercept)],
        )
        for height, intercept in zip(heights_mm, intercepts, strict=True)
    ]
    left_out = dict.fromkeys(["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"])
    dataset = make_slice(stored, **(left_out | {"RescaleIntercept": None, "NumberOfFrames": len(stored)} | tags))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.save_as(path, enforce_file_format=True)
