"""A page about a result as a DICOM secondary capture, for archives and viewers that ignore segmentations."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from highdicom.enum import CoordinateSystemNames, PhotometricInterpretationValues
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from embedded_vit.clinic.dicom_result import DicomResult
from embedded_vit.clinic.page import draw_page
from embedded_vit.clinic.source_series import EQUIPMENT, made_uid, series_description
from embedded_vit.contract import Contract
from embedded_vit.io.dicom.references import SourceImages
from embedded_vit.predict.predictor import Prediction
from embedded_vit.volume import Scan

__all__ = ["SecondaryCapture"]

SERIES_NUMBER = 2902


class SecondaryCapture(DicomResult):
    """Writes one page in colour: overlays and volumes."""

    ending: ClassVar[str] = "_sc"
    described: ClassVar[str] = "secondary capture"

    def made(self, prediction: Prediction, scan: Scan, contract: Contract, images: SourceImages) -> SCImage:
        """Draw the page and make the object; see `DicomResult.made`."""
        return _made(draw_page(prediction, scan, contract), prediction, images)


def _made(page: NDArray[np.uint8], prediction: Prediction, images: SourceImages) -> SCImage:
    source = images.datasets[0]
    capture = SCImage.from_ref_dataset(
        source,
        pixel_array=page,
        photometric_interpretation=PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=CoordinateSystemNames.PATIENT,
        series_instance_uid=made_uid("SC series", prediction, images),
        series_number=SERIES_NUMBER,
        sop_instance_uid=made_uid("SC", prediction, images, page),
        instance_number=1,
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=series_description(prediction, "page by"),
        specific_character_set="ISO_IR 192",
        **EQUIPMENT,
    )
    capture.copy_patient_and_study_information(source)
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.Laterality = ""  # that may be said of paired organs, and the page shows all
    capture.BurnedInAnnotation = "NO"  # the page says nothing of the patient
    capture.SourceImageSequence = [_reference(dataset) for dataset in images.datasets]
    return capture


def _reference(dataset: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    return item
