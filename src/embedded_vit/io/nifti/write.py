"""Scans, masks and probabilities into NIfTI files, written whole or not at all."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.errors import OutputError
from embedded_vit.io.atomic import atomic_path
from embedded_vit.io.nifti.geometry import NiftiGeometry
from embedded_vit.io.nifti.label_names import names_extension
from embedded_vit.io.nifti.read import read_geometry
from embedded_vit.io.nifti.stream import SUFFIXES, is_compressed, is_nifti
from embedded_vit.labels import LabelSet
from embedded_vit.volume import LabelMap, Mask, Volume

__all__ = ["DESCRIPTION", "PROBABILITY_STEPS", "write_labels", "write_probabilities", "write_volume"]

DESCRIPTION = RESEARCH_USE_ONLY[:79]  # what the header of every file that is written says; all that it holds
PROBABILITY_STEPS = 255  # a probability is stored as so many steps, in a byte


def write_labels(
    path: str | Path,
    labels: Mask,
    like: NiftiGeometry | str | Path | None = None,
    *,
    names: LabelSet | None = None,
    overwrite: bool = False,
) -> None:
    """Write a mask as uint8 with the shape, affine and header codes of the scan that it belongs to.

    Args:
        path: A `.nii` or `.nii.gz` file.
        labels: The mask, in the axis order of that scan.
        like: The scan's geometry, or the scan itself, of which nothing else is copied; a scan that is not a NIfTI file
            (or None) has no header codes, and the mask's own affine is written.
        names: What the numbers stand for, which the file then says itself.
        overwrite: Whether a file may be there already.

    Raises:
        OutputError: The mask lies on another grid, or the file exists or cannot be written.
    """
    if isinstance(labels, LabelMap) and labels.array.dtype != np.uint8:
        raise OutputError(f"{path}: labels are {labels.array.dtype}, uint8 was expected")
    geometry = like if isinstance(like, NiftiGeometry) else None
    if geometry is None and like is not None and is_nifti(str(like)):
        geometry = read_geometry(str(like))
    if geometry is None:
        geometry = NiftiGeometry.from_affine(labels.shape, labels.affine, labels.source)
    if not np.allclose(labels.affine, geometry.affine, atol=1e-4):
        raise OutputError(
            f"{path}: the mask lies on another grid than {geometry.source}; reorient it to the scan first"
        )
    extension = b"" if names is None else names_extension(names)
    _write(path, labels.planes(), labels.shape, np.dtype(np.uint8), geometry, extension=extension, overwrite=overwrite)


def write_probabilities(
    path: str | Path, maps: Sequence[Mask], geometry: NiftiGeometry, *, names: LabelSet, overwrite: bool = False
) -> None:
    """Write the probabilities of structures: four axes, of which the last is the structure.

    Args:
        path: A `.nii` or `.nii.gz` file.
        maps: For each structure one byte per voxel: its probability times 255.
        geometry: Of the scan.
        names: The structures, whose names the file then says itself.
        overwrite: Whether a file may be there already.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    planes = chain.from_iterable(each.planes() for each in maps)
    _write(
        *(path, planes, (*maps[0].shape, len(maps)), np.dtype(np.uint8), geometry),
        scaling=(1 / PROBABILITY_STEPS, 0.0),
        extension=names_extension(names),
        overwrite=overwrite,
    )


def write_volume(path: str | Path, volume: Volume, *, overwrite: bool = False) -> None:
    """Write a scan as NIfTI-1 in its stored dtype, several channels on a fourth axis.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    array = np.moveaxis(volume.array, 0, -1) if volume.array.shape[0] > 1 else volume.array[0]
    geometry = NiftiGeometry.from_affine(array.shape, volume.affine, str(path))
    planes = np.moveaxis(array, -1, 0)
    scaling = (volume.slope, volume.intercept)
    _write(path, planes, array.shape, array.dtype, geometry, scaling=scaling, overwrite=overwrite)


def _write(
    path: str | Path,
    planes: Iterable[NDArray[Any]],
    array_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: NiftiGeometry,
    *,
    scaling: tuple[float, float] = (1.0, 0.0),
    extension: bytes = b"",
    overwrite: bool,
) -> None:
    """Write an array, given plane by plane along its last axis, which in NIfTI is the slowest."""
    if not is_nifti(path):
        raise OutputError(f"{path}: the name of a NIfTI file must end in {' or '.join(SUFFIXES)}")
    shape = geometry.shape + (1,) * (len(array_shape) - len(geometry.shape))  # a 2-D file holds one slice
    further = array_shape[3:] if len(geometry.shape) <= 3 else ()  # an axis that the scan has not
    if further:
        shape = (*shape[:3], *further)
    if math.prod(array_shape) != math.prod(shape) or array_shape != shape[: len(array_shape)]:
        raise OutputError(f"{path}: the array is {array_shape}, {geometry.source} is {shape}")
    header = geometry.header.copy()
    if further:
        header["dim"][: len(shape) + 1] = (len(shape), *shape)
        header["pixdim"][4 : len(shape) + 1] = 1.0
    header.set_data_dtype(dtype)
    header["vox_offset"] = header.sizeof_hdr + 4 + len(extension)
    header["scl_slope"], header["scl_inter"] = scaling
    header["descrip"] = DESCRIPTION.encode()
    with atomic_path(path, overwrite=overwrite) as temporary, open(temporary, "wb") as raw:
        if not is_compressed(path):
            _write_stream(cast(BinaryIO, raw), header, extension, planes)
            return
        with gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as packed:
            _write_stream(cast(BinaryIO, packed), header, extension, planes)


def _write_stream(file: BinaryIO, header: Nifti1Header, extension: bytes, planes: Iterable[NDArray[Any]]) -> None:
    file.write(header.binaryblock + bytes((bool(extension), 0, 0, 0)) + extension)
    for plane in planes:
        file.write(plane.tobytes(order="F"))
