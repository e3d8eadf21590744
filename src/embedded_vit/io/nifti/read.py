"""Scans, masks and geometries out of NIfTI files, for callers that know a file to be NIfTI."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.io.label_values import labels_from
from embedded_vit.io.nifti.geometry import NiftiGeometry, read_header
from embedded_vit.io.nifti.source import NiftiSource
from embedded_vit.io.nifti.stream import open_nifti, open_voxels
from embedded_vit.volume import LabelMap, Volume

__all__ = ["read_geometry", "read_labels", "read_volume"]


def read_volume(path: str | Path, *, channels: int = 1) -> Volume:
    """Read a scan.

    Args:
        path: A `.nii` or `.nii.gz` file: 3-D, or 4-D with its channels on the last axis (BraTS of the Decathlon).
        channels: How many channels are expected; trailing axes of length one are tolerated.

    Returns:
        The volume in the file's dtype and axis order; `slope` and `intercept` as the header states them.

    Raises:
        FileFormatError: The file is unreadable, truncated, damaged, too large, of another kind, not finite, or has
            another number of axes or channels.
    """
    return NiftiSource(path, channels=channels).read()


def read_labels(path: str | Path) -> LabelMap:
    """Read a mask: integers 0 to 255, which a file may store as floating point numbers.

    Raises:
        FileFormatError: As `read_volume`, or a number is not an integer in 0 to 255.
    """
    with open_voxels(path, channels=1) as stream:
        array = stream.read_array(stream.blocks())[0]
    labels = labels_from(array, stream.source, slope=stream.slope, intercept=stream.intercept)
    return LabelMap(labels, stream.geometry.affine, source=stream.source)


def read_geometry(path: str | Path) -> NiftiGeometry:
    """Read only where a file's voxels lie, for a mask on the same grid.

    Raises:
        FileFormatError: The header is missing, damaged or puts voxels nowhere.
    """
    with open_nifti(path) as (file, _):
        return NiftiGeometry.of_header(read_header(file, str(path)), str(path))
