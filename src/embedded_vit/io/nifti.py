"""NIfTI files: read to the last byte and checked, written whole or not at all.

A volume keeps the numbers, the dtype and the axis order of its file; nothing is reoriented here. Voxels are read a few
planes at a time, into one array or onto the disk, so that memory stays at the size of the volume or far below it, and a
`.nii.gz` is read to its very end, where gzip's checksum is: a flipped bit anywhere is noticed.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.errors import OutputError
from embedded_vit.io.atomic import atomic_path
from embedded_vit.io.label_values import labels_from
from embedded_vit.io.nifti_geometry import NiftiGeometry, read_header
from embedded_vit.io.nifti_stream import Block, VoxelStream, is_nifti, open_nifti, open_voxels
from embedded_vit.io.spool import Spool, check_free_disk
from embedded_vit.io.spooled_volume import SpooledVolume, SpoolView, slice_axis_of
from embedded_vit.volume import LabelMap, Mask, Volume

__all__ = [
    "NiftiGeometry",
    "announced_bytes",
    "is_nifti",
    "read_geometry",
    "read_labels",
    "read_volume",
    "spool_volume",
    "write_labels",
    "write_volume",
]


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
    with open_voxels(path, channels) as stream:
        array = _read(stream, stream.finite_blocks())
    return Volume(array, stream.geometry.affine, stream.slope, stream.intercept, source=stream.source)


def announced_bytes(path: str | Path, *, channels: int = 1) -> tuple[int, int]:
    """What a scan would take in memory, by its header: the bytes of its voxels, and those of a mask.

    Raises:
        FileFormatError: As `read_volume`, as far as the header shows it.
    """
    with open_voxels(path, channels) as stream:
        return stream.volume_bytes, math.prod(stream.shape[:3])


def spool_volume(path: str | Path, *, channels: int = 1, folder: Path | None = None) -> SpooledVolume:
    """Read a scan as `read_volume` does, onto the disk and not into memory.

    Args:
        path, channels: As `read_volume`.
        folder: Where the temporary files go, of this scan and of its mask; None for the system's own place (TMPDIR).

    Raises:
        FileFormatError: As `read_volume`.
        OutputError: The disk does not hold the scan and its mask.
    """
    with open_voxels(path, channels) as stream:
        shape, affine = (stream.shape[0], stream.shape[1], stream.shape[2]), stream.geometry.affine
        check_free_disk(stream.volume_bytes + math.prod(shape), folder)
        slice_axis = slice_axis_of(affine)
        spools = tuple(Spool(shape, stream.dtype, slice_axis=slice_axis, folder=folder) for _ in range(channels))
        lowest = math.inf
        for channel, start, planes in stream.finite_blocks():
            spools[channel].write_planes(start, planes)
            lowest = min(lowest, float(planes.min()))
    view = SpoolView(shape, spools[0].axes)
    return SpooledVolume(spools, view, lowest, affine, stream.slope, stream.intercept, source=stream.source)


def read_labels(path: str | Path) -> LabelMap:
    """Read a mask: integers 0 to 255, which a file may store as floating point numbers.

    Raises:
        FileFormatError: As `read_volume`, or a number is no integer in 0 to 255.
    """
    with open_voxels(path, channels=1) as stream:
        array = _read(stream, stream.blocks())[0]
    labels = labels_from(array, stream.source, slope=stream.slope, intercept=stream.intercept)
    return LabelMap(labels, stream.geometry.affine, source=stream.source)


def read_geometry(path: str | Path) -> NiftiGeometry:
    """Read only where a file's voxels lie, for a mask on the same grid.

    Raises:
        FileFormatError: The header is missing, damaged or puts voxels nowhere.
    """
    with open_nifti(path) as (file, _):
        return NiftiGeometry.of_header(read_header(file, str(path)), str(path))


def write_labels(
    path: str | Path, labels: Mask, like: NiftiGeometry | str | Path | None = None, *, overwrite: bool = False
) -> None:
    """Write a mask as uint8 with the shape, affine and header codes of the scan that it belongs to.

    Args:
        path: A `.nii` or `.nii.gz` file.
        labels: The mask, in the axis order of that scan.
        like: The scan's geometry, or the scan itself, of which nothing else is copied; a scan that is no NIfTI file
            (or None) has no header codes, and the mask's own affine is written.
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
    _write(path, labels.planes(), labels.shape, np.dtype(np.uint8), geometry, overwrite=overwrite)


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


def _read(stream: VoxelStream, blocks: Iterable[Block]) -> NDArray[Any]:
    """Read a whole file: (channels, axis 0, axis 1, axis 2) in native byte order."""
    array: NDArray[Any] = np.empty((*stream.shape[:3], stream.channels), stream.dtype, order="F")
    for channel, start, planes in blocks:
        array[:, :, start : start + planes.shape[2], channel] = planes
    return np.moveaxis(array, -1, 0)


def _write(
    path: str | Path,
    planes: Iterable[NDArray[Any]],
    array_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: NiftiGeometry,
    *,
    scaling: tuple[float, float] = (1.0, 0.0),
    overwrite: bool,
) -> None:
    """Write an array, given plane by plane along its last axis, which in NIfTI is the slowest."""
    if not is_nifti(path):
        raise OutputError(f"{path}: the name of a NIfTI file must end in .nii or .nii.gz")
    shape = geometry.shape
    if math.prod(array_shape) != math.prod(shape) or array_shape != shape[: len(array_shape)]:
        raise OutputError(f"{path}: the array is {array_shape}, {geometry.source} is {shape}")
    header = geometry.header.copy()
    header.set_data_dtype(dtype)
    header["vox_offset"] = header.sizeof_hdr + 4
    header["scl_slope"], header["scl_inter"] = scaling
    header["descrip"] = RESEARCH_USE_ONLY.encode()[:79]
    with atomic_path(path, overwrite=overwrite) as temporary, open(temporary, "wb") as raw:
        if not str(path).lower().endswith(".gz"):
            _write_stream(cast(BinaryIO, raw), header, planes)
            return
        with gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as packed:
            _write_stream(cast(BinaryIO, packed), header, planes)


def _write_stream(file: BinaryIO, header: Nifti1Header, planes: Iterable[NDArray[Any]]) -> None:
    file.write(header.binaryblock + bytes(4))  # no extensions
    for plane in planes:
        file.write(plane.tobytes(order="F"))
