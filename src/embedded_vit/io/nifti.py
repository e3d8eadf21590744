"""NIfTI files: read to the last byte and checked, written whole or not at all.

A volume keeps the numbers, the dtype and the axis order of its file; nothing is reoriented here. Voxels are read in
chunks into one array, so that memory stays at the size of the volume, and a `.nii.gz` is read to its very end, where
gzip's checksum is: a flipped bit anywhere is noticed.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from embedded_vit import RESEARCH_USE_ONLY
from embedded_vit.errors import FileFormatError, OutputError
from embedded_vit.io.atomic import atomic_path
from embedded_vit.io.label_values import labels_from
from embedded_vit.io.limits import check_array_size, check_compressed_size
from embedded_vit.io.nifti_geometry import NiftiGeometry, read_header, shape_of
from embedded_vit.volume import LabelMap, Volume

__all__ = ["NiftiGeometry", "is_nifti", "read_geometry", "read_labels", "read_volume", "write_labels", "write_volume"]

CHUNK_BYTES = 1 << 22
SUFFIXES = (".nii", ".nii.gz")


def is_nifti(path: str | Path) -> bool:
    """Whether a file's name ends as a NIfTI file's does."""
    return str(path).lower().endswith(SUFFIXES)


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
    source = str(path)
    array, header, geometry = _read(path, channels)
    slope, intercept = _scaling(header, source)
    _check_finite(array, slope, intercept, source)
    return Volume(array, geometry.affine, slope, intercept, source=source)


def read_labels(path: str | Path) -> LabelMap:
    """Read a mask: integers 0 to 255, which a file may store as floating point numbers.

    Raises:
        FileFormatError: As `read_volume`, or a number is no integer in 0 to 255.
    """
    source = str(path)
    array, header, geometry = _read(path, channels=1)
    slope, intercept = _scaling(header, source)
    return LabelMap(labels_from(array[0], source, slope=slope, intercept=intercept), geometry.affine, source=source)


def read_geometry(path: str | Path) -> NiftiGeometry:
    """Read only where a file's voxels lie, for a mask on the same grid.

    Raises:
        FileFormatError: The header is missing, damaged or puts voxels nowhere.
    """
    with _opened(path) as (file, _):
        return NiftiGeometry.of_header(read_header(file, str(path)), str(path))


def write_labels(
    path: str | Path, labels: LabelMap, like: NiftiGeometry | str | Path | None = None, *, overwrite: bool = False
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
    if labels.array.dtype != np.uint8:
        raise OutputError(f"{path}: labels are {labels.array.dtype}, uint8 was expected")
    geometry = like if isinstance(like, NiftiGeometry) else None
    if geometry is None and like is not None and is_nifti(str(like)):
        geometry = read_geometry(str(like))
    if geometry is None:
        geometry = NiftiGeometry.from_affine(labels.array.shape, labels.affine, labels.source)
    if not np.allclose(labels.affine, geometry.affine, atol=1e-4):
        raise OutputError(
            f"{path}: the mask lies on another grid than {geometry.source}; reorient it to the scan first"
        )
    _write(path, labels.array, geometry, overwrite=overwrite)


def write_volume(path: str | Path, volume: Volume, *, overwrite: bool = False) -> None:
    """Write a scan as NIfTI-1 in its stored dtype, several channels on a fourth axis.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    array = np.moveaxis(volume.array, 0, -1) if volume.array.shape[0] > 1 else volume.array[0]
    geometry = NiftiGeometry.from_affine(array.shape, volume.affine, str(path))
    _write(path, array, geometry, slope=volume.slope, intercept=volume.intercept, overwrite=overwrite)


def _read(path: str | Path, channels: int) -> tuple[NDArray[Any], Nifti1Header, NiftiGeometry]:
    """Read and check a whole file: (channels, axis0, axis1, axis2) in native byte order, its header and geometry."""
    source = str(path)
    with _opened(path) as (file, compressed_bytes):
        header = read_header(file, source)
        shape = _expected_shape(header, channels, source)
        stored = _voxel_dtype(header, source)
        check_array_size(shape, stored.itemsize, source)
        geometry = NiftiGeometry.of_header(header, source)
        flat: NDArray[Any] = np.empty(math.prod(shape), stored)
        if compressed_bytes is not None:
            check_compressed_size(compressed_bytes, flat.nbytes, source)
        _skip_to_voxels(file, header, source)
        _fill(file, flat.view(np.uint8), source)
    if not stored.isnative:
        flat = flat.byteswap(inplace=True).view(stored.newbyteorder("="))
    array = flat.reshape(shape, order="F")  # (axis0, axis1, axis2) or (axis0, axis1, axis2, channels)
    return (array[None] if len(shape) == 3 else np.moveaxis(array, -1, 0)), header, geometry


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open a file, decompressing by its suffix; gives the stream and the compressed size (None for a plain file)."""
    if not is_nifti(path):
        raise FileFormatError(f"{path}: not a NIfTI file by its name; .nii or .nii.gz was expected")
    try:
        with open(path, "rb") as raw:
            if not str(path).lower().endswith(".gz"):
                yield raw, None
                return
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast(BinaryIO, unpacked), Path(path).stat().st_size
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileFormatError(f"{path}: truncated or damaged: {str(error).rstrip('.')}; copy the file again") from error
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def _expected_shape(header: Nifti1Header, channels: int, source: str) -> tuple[int, ...]:
    shape = shape_of(header)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    lengths = " x ".join(str(length) for length in shape)
    if len(shape) != (3 if channels == 1 else 4):
        wanted = "3-D" if channels == 1 else f"4-D with {channels} channels"
        raise FileFormatError(f"{source}: {len(shape)}-D ({lengths}) where {wanted} is expected")
    if channels > 1 and shape[3] != channels:
        raise FileFormatError(f"{source}: {shape[3]} channels ({lengths}) where {channels} are expected")
    return shape


def _voxel_dtype(header: Nifti1Header, source: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (KeyError, ValueError) as error:  # nibabel's HeaderDataError is a ValueError
        raise FileFormatError(f"{source}: unknown data type code {int(header['datatype'])}") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = "RGB or bits" if dtype.kind == "V" else str(dtype)
        raise FileFormatError(f"{source}: voxels are {name}; integers or floating point numbers are expected")
    return dtype


def _scaling(header: Nifti1Header, source: str) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):  # the standard's "not scaled" is 0; nibabel writes NaN
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise FileFormatError(f"{source}: the intercept (scl_inter) is {intercept}; repair the header")
    return slope, intercept


def _skip_to_voxels(file: BinaryIO, header: Nifti1Header, source: str) -> None:
    """Read over header extensions, which may hold text about the patient and are never kept."""
    offset = float(header["vox_offset"])
    first = header.sizeof_hdr + 4
    if not first <= offset <= CHUNK_BYTES:  # NaN fails too
        raise FileFormatError(
            f"{source}: voxels are said to start at byte {offset:g}; {first} or a little more expected"
        )
    skip = int(offset) - header.sizeof_hdr
    if len(file.read(skip)) < skip:
        raise FileFormatError(f"{source}: truncated before the first voxel; copy the file again")


def _fill(file: BinaryIO, into: NDArray[np.uint8], source: str) -> None:
    """Fill (bytes,) uint8 from a stream that must end exactly there."""
    done = 0
    while done < into.size:
        chunk = file.read(min(CHUNK_BYTES, into.size - done))
        if not chunk:
            raise FileFormatError(
                f"{source}: truncated: {done:,} of {into.size:,} bytes of voxels are there; copy the file again"
            )
        into[done : done + len(chunk)] = np.frombuffer(chunk, np.uint8)
        done += len(chunk)
    if file.read(1):  # at its end gzip compares length and checksum
        raise FileFormatError(f"{source}: more bytes than the header announces; the file is damaged or of another kind")


def _check_finite(array: NDArray[Any], slope: float, intercept: float, source: str) -> None:
    if array.dtype.kind != "f" and (slope, intercept) == (1.0, 0.0):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        for channel in array:
            for plane in np.moveaxis(channel, -1, 0):
                if not np.isfinite(plane.astype(np.float32) * np.float32(slope) + np.float32(intercept)).all():
                    raise FileFormatError(f"{source}: intensities are NaN or infinite; repair the file")


def _write(
    path: str | Path,
    array: NDArray[Any],
    geometry: NiftiGeometry,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    overwrite: bool,
) -> None:
    if not is_nifti(path):
        raise OutputError(f"{path}: the name of a NIfTI file must end in .nii or .nii.gz")
    shape = geometry.shape
    if array.size != math.prod(shape) or array.shape != shape[: array.ndim]:
        raise OutputError(f"{path}: the array is {array.shape}, {geometry.source} is {shape}")
    header = geometry.header.copy()
    header.set_data_dtype(array.dtype)
    header["vox_offset"] = header.sizeof_hdr + 4
    header["scl_slope"], header["scl_inter"] = slope, intercept
    header["descrip"] = RESEARCH_USE_ONLY.encode()[:79]
    with atomic_path(path, overwrite=overwrite) as temporary, open(temporary, "wb") as raw:
        if not str(path).lower().endswith(".gz"):
            _write_stream(cast(BinaryIO, raw), header, array)
            return
        with gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as packed:
            _write_stream(cast(BinaryIO, packed), header, array)


def _write_stream(file: BinaryIO, header: Nifti1Header, array: NDArray[Any]) -> None:
    file.write(header.binaryblock + bytes(4))  # no extensions
    for plane in np.moveaxis(array, -1, 0):  # Fortran order: the last axis is the slowest
        file.write(plane.tobytes(order="F"))
