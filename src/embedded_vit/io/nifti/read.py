"""Masks and geometries out of NIfTI files, for callers that know a file to be NIfTI."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.io.label_values import labels_from
from embedded_vit.io.nifti.geometry import NiftiGeometry, read_header
from embedded_vit.io.nifti.stream import open_nifti, open_voxels
from embedded_vit.volume import LabelMap

__all__ = ["read_geometry", "read_labels"]


def read_labels(path: str | Path) -> LabelMap:
    """Read a mask: integers 0 to 255, which a file may store as floating point numbers.

    Raises:
        FileFormatError: As `open_voxels`, or a number is not an integer in 0 to 255.
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
