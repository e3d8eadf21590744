"""The formats of `predict --format`, and the results that each stands for."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from embedded_vit.errors import ConfigError, missing_extra

if TYPE_CHECKING:  # the command line reads the names of the formats before NumPy may be imported
    from embedded_vit.predict.results import Results

__all__ = ["ResultFormat", "results_for"]

ResultFormat = Literal["nifti", "dicom-seg", "sc", "all"]


def results_for(result_format: ResultFormat, *, labelmap: bool = False, probabilities: bool = False) -> Results:
    """Return what is written of each scan.

    Args:
        result_format: "nifti", the mask; "dicom-seg", a DICOM segmentation; "sc", a secondary capture; or "all" three.
        labelmap: Whether segmentations are of type LABELMAP, which few programs read yet, in place of BINARY.
        probabilities: Whether the probabilities of every voxel are written beside the mask.

    Raises:
        ConfigError: `probabilities` without a mask, `labelmap` without a segmentation, or the libraries that write
            DICOM are not installed.
    """
    if labelmap and result_format not in ("dicom-seg", "all"):
        raise ConfigError(f"--labelmap with --format {result_format}: is a kind of DICOM segmentation; add --format "
                          "dicom-seg or all")  # fmt: skip
    if probabilities and result_format not in ("nifti", "all"):
        raise ConfigError(f"--probabilities with --format {result_format}: they lie beside the mask; add --format "
                          "nifti or all")  # fmt: skip
    from embedded_vit.predict.results import Results

    if result_format == "nifti":
        return Results(probabilities=probabilities)
    if find_spec("highdicom") is None:
        raise ConfigError(f"--format {result_format}: {missing_extra('highdicom, which writes DICOM,', 'dicom')}")
    from embedded_vit.clinic.secondary_capture import SecondaryCapture
    from embedded_vit.clinic.segmentation_object import SegmentationObject
    from embedded_vit.clinic.standard_modules import lighten

    lighten()
    segmentation, capture = SegmentationObject(labelmap=labelmap), SecondaryCapture()
    if result_format == "dicom-seg":
        return Results(mask=False, others=(segmentation,))
    if result_format == "sc":
        return Results(mask=False, others=(capture,))
    return Results(others=(segmentation, capture), probabilities=probabilities)
