"""DICOM: a folder of files, one series of which is a scan."""

from embedded_vit.io.dicom.series import DicomSeries, find_series, holds_dicom

__all__ = ["DicomSeries", "find_series", "holds_dicom"]
