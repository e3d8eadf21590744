"""Scans and masks out of NIfTI files, read to the last byte and checked.

A volume keeps the numbers, the dtype and the axis order of its file; nothing is reoriented here. Voxels are read a few
planes at a time, into one array or onto the disk, so that memory stays at the size of the volume or far below it, and a
`.nii.gz` is read to its very end, where gzip's checksum is: a flipped bit anywhere is noticed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.io.label_values import labels_from
from embedded_vit.io.nifti.geometry import NiftiGeometry, read_header
from embedded_vit.io.nifti.stream import Block, VoxelStream, open_nifti, open_voxels
from embedded_vit.io.spool import Spool, SpooledVolume, SpoolView, check_free_disk, slice_axis_of
from embedded_vit.volume import LabelMap, Volume

__all__ = ["announced_bytes", "read_geometry", "read_labels", "read_volume", "spool_volume"]


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


def _read(stream: VoxelStream, blocks: Iterable[Block]) -> NDArray[Any]:
    """Read a whole file: (channels, axis 0, axis 1, axis 2) in native byte order."""
    array: NDArray[Any] = np.empty((*stream.shape[:3], stream.channels), stream.dtype, order="F")
    for channel, start, planes in blocks:
        array[:, :, start : start + planes.shape[2], channel] = planes
    return np.moveaxis(array, -1, 0)
