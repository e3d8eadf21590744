"""DICOM: a folder of files, one series of which is a scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = [
    "DicomSeries",
    "DicomSource",
    "find_series",
    "holds_dicom",
]

if TYPE_CHECKING:
    from embedded_vit.io.dicom.magic import holds_dicom
    from embedded_vit.io.dicom.series import DicomSeries, find_series
    from embedded_vit.io.dicom.source import DicomSource
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "magic": ["holds_dicom"],
            "series": ["DicomSeries", "find_series"],
            "source": ["DicomSource"],
        },
    )
