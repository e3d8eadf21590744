"""What the results in DICOM have in common: they are made of a prediction and of the series that it was made of."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import pydicom

from embedded_vit.clinic.source_series import dicom_source, usable_headers, write_dicom
from embedded_vit.contract import Contract
from embedded_vit.errors import InputError
from embedded_vit.io.dicom.references import SourceImages
from embedded_vit.io.scan_source import ScanSource
from embedded_vit.predict.predictor import Prediction
from embedded_vit.predict.results import Result
from embedded_vit.volume import Scan

__all__ = ["DicomResult"]


class DicomResult(Result):
    """A result that is one DICOM object.

    Attributes:
        described: What it is, in a message: "segmentation".
    """

    described: ClassVar[str]

    def check(self, source: ScanSource) -> list[str]:
        """Refuse what is no DICOM series: the object belongs to a study, and refers to images."""
        return usable_headers(dicom_source(source, self.described))[1]

    def write(self, path: Path, prediction: Prediction, contract: Contract) -> None:
        """Write the object; see `Result.write`.

        Raises:
            InputError: The prediction did not keep its scan.
        """
        if prediction.kept is None:
            raise InputError(
                "a prediction without its scan: a DICOM result is made of both; predict with keep_scan=True"
            )
        scan, source = prediction.kept
        images, _ = usable_headers(dicom_source(source, self.described))
        write_dicom(path, lambda: self.made(prediction, scan, contract, images))

    @abstractmethod
    def made(self, prediction: Prediction, scan: Scan, contract: Contract, images: SourceImages) -> pydicom.Dataset:
        """Make the object.

        Args:
            prediction: The mask and what is said of it.
            scan: What it was made of.
            contract: Of the model.
            images: The headers of the series.
        """
