"""A mask as a DICOM segmentation (SEG): a segment a structure, on the images of its series. highdicom writes it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from embedded_vit.about import __version__
from embedded_vit.clinic.coding import code_of
from embedded_vit.clinic.dicom_result import DicomResult
from embedded_vit.clinic.source_series import EQUIPMENT, MANUFACTURER, made_uid, series_description
from embedded_vit.contract import Contract
from embedded_vit.io.dicom.references import SourceImages
from embedded_vit.labels import Label, LabelSet
from embedded_vit.predict.predictor import Prediction
from embedded_vit.volume import Mask, Scan

__all__ = ["SegmentationObject"]

SERIES_NUMBER = 2901


class SegmentationObject(DicomResult):
    """Writes a DICOM segmentation, BINARY or LABELMAP.

    A structure that is not in the mask has a segment without frames. Frames lie where the images of the series lie, so
    nothing is resampled, tilted series included.
    """

    ending: ClassVar[str] = "_seg"
    described: ClassVar[str] = "segmentation"

    def __init__(self, *, labelmap: bool = False) -> None:
        self._labelmap = labelmap

    def made(self, prediction: Prediction, scan: Scan, contract: Contract, images: SourceImages) -> Segmentation:
        """Make the object; see `DicomResult.made`."""
        frames = _frames(prediction.mask, images)
        kind = SegmentationTypeValues.LABELMAP if self._labelmap else SegmentationTypeValues.BINARY
        return Segmentation(
            source_images=images.datasets,
            pixel_array=frames,
            segmentation_type=kind,
            segment_descriptions=_segments(prediction.labels, prediction),
            series_instance_uid=made_uid("SEG series", prediction, images),
            series_number=SERIES_NUMBER,
            sop_instance_uid=made_uid(f"SEG {kind.value}", prediction, images, frames),
            instance_number=1,
            **EQUIPMENT,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            content_label="SEGMENTATION",
            content_description=series_description(prediction, "organs by"),
            content_creator_name=f"{MANUFACTURER}^",
            series_description=series_description(prediction, "segmentation by"),
            specific_character_set="ISO_IR 192",
        )


def _frames(mask: Mask, images: SourceImages) -> NDArray[np.uint8]:
    """Return a mask, (column, row, slice), as frames in the order of the images: (frame, row, column)."""
    columns, rows, slices = mask.shape
    frames = np.zeros((slices, rows, columns), np.uint8)
    for index, plane in enumerate(mask.planes()):  # (columns, rows)
        frames[images.planes[index]] = plane.T
    return frames


def _segments(labels: LabelSet, prediction: Prediction) -> list[SegmentDescription]:
    algorithm = AlgorithmIdentificationSequence(
        name=prediction.model[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        source=MANUFACTURER,
        parameters={"model_sha256": prediction.model_sha256},
    )
    return [_segment(label, labels, algorithm) for label in labels.labels]


def _segment(label: Label, labels: LabelSet, algorithm: AlgorithmIdentificationSequence) -> SegmentDescription:
    code = code_of(label, labels.names)
    described = SegmentDescription(
        segment_number=label.id,
        segment_label=label.name[:64],
        segmented_property_category=code.category,
        segmented_property_type=code.structure,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        display_color=CIELabColor.from_rgb(*label.rgb),
    )
    if code.modifier is not None:
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [code.modifier]
    return described
