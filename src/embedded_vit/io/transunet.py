"""TransUNet's arrays: slices in `.npz` and volumes in `.npy.h5`, both with the keys `image` and `label`.

TransUNet stores a CT as numbers from 0 to 1, which stand for -125 to 275 HU (2102.04306, and its Synapse
preprocessing). Numbers that leave 0 to 1 are taken as HU. The arrays run to the patient's head (slices), left (rows)
and back (columns) and carry no spacing, so lengths are in voxels. h5py is imported when a volume is read: a device that
reads NIfTI files alone needs none.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.label_values import labels_from
from embedded_vit.io.limits import check_array_size
from embedded_vit.io.spool import Spool, check_free_disk
from embedded_vit.io.spooled_volume import SpooledVolume, SpoolView, slice_axis_of
from embedded_vit.volume import LabelMap, Volume

if TYPE_CHECKING:
    import h5py

__all__ = [
    "TRANSUNET_AFFINE",
    "announced_h5_bytes",
    "is_h5_volume",
    "read_h5_labels",
    "read_h5_volume",
    "read_slice",
    "spool_h5_volume",
    "stack_images",
    "stack_labels",
    "stored_numbers",
]

# (slice, row, column) -> RAS+: slices to superior, rows to the patient's left, columns to posterior; in voxels.
TRANSUNET_AFFINE = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)
LOWEST_HU, HIGHEST_HU = -125.0, 275.0


def is_h5_volume(path: str | Path) -> bool:
    """Whether a file's name ends as a TransUNet volume's does."""
    return str(path).lower().endswith((".h5", ".hdf5"))


def read_slice(path: str | Path) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Read one training slice.

    Args:
        path: An `.npz` file with `image` and `label`, both (rows, columns).

    Returns:
        The image (rows, columns), float32 or the stored integer type, in stored numbers; the labels (rows, columns).

    Raises:
        FileFormatError: The file is unreadable, damaged, lacks a key, or its arrays do not fit or are not finite.
    """
    source = str(path)
    with _one_line_errors(source), zipfile.ZipFile(path) as archive:
        image = _read_member(archive, "image", source)
        label = _read_member(archive, "label", source)
    if label.shape != image.shape:
        raise FileFormatError(f"{source}: 'label' is {label.shape} and 'image' {image.shape}; they must be equal")
    return _finite(image, source), labels_from(label, source)


def stack_images(paths: Sequence[str | Path], source: str) -> Volume:
    """Read the images of one case's slices, lowest first, as a volume.

    Args:
        paths: At least one `.npz` file; all of one shape.
        source: Name of the case, for messages.

    Raises:
        FileFormatError: As `read_slice`, or a slice has another shape than the first.
    """

    def read(path: str | Path) -> NDArray[Any]:
        with _one_line_errors(str(path)), zipfile.ZipFile(path) as archive:
            return _finite(_read_member(archive, "image", str(path)), str(path))

    return _volume(_stack(paths, read, source), source)


def stack_labels(paths: Sequence[str | Path], source: str) -> LabelMap:
    """Read the masks of one case's slices, lowest first; arguments and errors as `stack_images`."""

    def read(path: str | Path) -> NDArray[Any]:
        with _one_line_errors(str(path)), zipfile.ZipFile(path) as archive:
            return labels_from(_read_member(archive, "label", str(path)), str(path))

    return LabelMap(_stack(paths, read, source), TRANSUNET_AFFINE, spacing_known=False, source=source)


def read_h5_volume(path: str | Path) -> Volume:
    """Read the image of a test volume; a mask in the file is left alone, as there need not be one.

    Args:
        path: An HDF5 file with `image` (slices, rows, columns).

    Raises:
        FileFormatError: The file is unreadable, damaged, lacks `image`, or it is not 3-D or not finite.
    """
    source = str(path)
    return _volume(_finite(_read_h5(path, "image"), source), source)


def announced_h5_bytes(path: str | Path) -> tuple[int, int]:
    """What the image of a test volume would take in memory: the bytes of its voxels, and those of a mask.

    Raises:
        FileFormatError: As `read_h5_volume`, as far as the header shows it.
    """
    with _open_h5(path, "image") as dataset:
        return _announced_bytes(dataset)


def spool_h5_volume(path: str | Path, *, folder: Path | None = None) -> SpooledVolume:
    """Read the image of a test volume as `read_h5_volume` does, onto the disk and not into memory.

    Args:
        path: As `read_h5_volume`.
        folder: Where the temporary files go, of this scan and of its mask; None for the system's own place (TMPDIR).

    Raises:
        FileFormatError: As `read_h5_volume`.
        OutputError: The disk does not hold the scan and its mask.
    """
    source = str(path)
    with _open_h5(path, "image") as dataset:
        check_free_disk(sum(_announced_bytes(dataset)), folder)
        slices, rows, columns = dataset.shape
        spool = Spool(
            (slices, rows, columns),
            _dtype_in_memory(dataset),
            slice_axis=slice_axis_of(TRANSUNET_AFFINE),
            folder=folder,
        )
        lowest, highest = math.inf, -math.inf
        at_once = dataset.chunks[0] if dataset.chunks else 1  # slices that HDF5 decompresses together
        for start in range(0, slices, at_once):
            block = _finite(dataset[start : start + at_once], source)  # (slices, rows, columns)
            for index, plane in enumerate(block, start):
                spool.write_slice(index, plane.T)
            lowest, highest = min(lowest, float(block.min())), max(highest, float(block.max()))
    return SpooledVolume(
        (spool,),
        SpoolView((slices, rows, columns), spool.axes),
        lowest,
        TRANSUNET_AFFINE,
        *_scaling(lowest, highest),
        spacing_known=False,
        source=source,
    )


def read_h5_labels(path: str | Path) -> LabelMap:
    """Read only the mask of a test volume, `label`; errors as `read_h5_volume`."""
    source = str(path)
    return LabelMap(labels_from(_read_h5(path, "label"), source), TRANSUNET_AFFINE, spacing_known=False, source=source)


def stored_numbers(volume: Volume) -> NDArray[np.float32]:
    """A CT as TransUNet stores it: (slices, rows, columns) float32, -125 to 275 HU as 0 to 1, clipped.

    Args:
        volume: One channel, in HU and in training orientation.
    """
    width = np.float32(HIGHEST_HU - LOWEST_HU)
    stored = np.empty(volume.shape, np.float32)
    for index in range(len(stored)):
        stored[index] = np.clip((volume.intensities(index)[0] - np.float32(LOWEST_HU)) / width, 0, 1)
    return stored


def _stack(paths: Sequence[str | Path], read: Callable[[str | Path], NDArray[Any]], source: str) -> NDArray[Any]:
    """Read (rows, columns) arrays one by one into (slices, rows, columns) of the first one's dtype."""
    if not paths:
        raise FileFormatError(f"{source}: no slices")
    first = read(paths[0])
    check_array_size((len(paths), *first.shape), first.dtype.itemsize, str(paths[0]))
    stack = np.empty((len(paths), *first.shape), first.dtype)
    stack[0] = first
    for index, path in enumerate(paths[1:], start=1):
        plane = read(path)
        if plane.shape != first.shape or plane.dtype != first.dtype:
            raise FileFormatError(
                f"{path}: the slice is {plane.dtype} {plane.shape}, the first one of {source} is {first.dtype} "
                f"{first.shape}; all slices of a case must be alike"
            )
        stack[index] = plane
    return stack


def _volume(image: NDArray[Any], source: str) -> Volume:
    """Give (slices, rows, columns) stored numbers their meaning in HU."""
    scaling = _scaling(float(image.min()), float(image.max()))
    return Volume(image[None], TRANSUNET_AFFINE, *scaling, spacing_known=False, source=source)


def _scaling(lowest: float, highest: float) -> tuple[float, float]:
    """Slope and intercept that give numbers of this range their meaning in HU."""
    windowed = lowest >= 0 and highest <= 1
    return (HIGHEST_HU - LOWEST_HU, LOWEST_HU) if windowed else (1.0, 0.0)


@contextmanager
def _one_line_errors(source: str) -> Iterator[None]:
    """Turn what zipfile, zlib, numpy and HDF5 raise on a bad file into one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileFormatError(f"{source}: there is no such file") from error
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError,
            SyntaxError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        reason = str(error).split("\n")[0][:120] or type(error).__name__
        raise FileFormatError(f"{source}: truncated or damaged: {reason}; copy the file again") from error


def _read_member(archive: zipfile.ZipFile, key: str, source: str) -> NDArray[Any]:
    """Read an array of an `.npz`, its size checked first, to the end, where zip's checksum is."""
    names = archive.namelist()
    if f"{key}.npy" not in names:
        found = ", ".join(name.removesuffix(".npy") for name in names[:5]) or "nothing"
        raise FileFormatError(
            f"{source}: no array '{key}' ({found} found); TransUNet's slices hold 'image' and 'label'"
        )
    with archive.open(f"{key}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise FileFormatError(f"{source}: '{key}' has npy format version {version}, 1.0 or 2.0 is expected")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    _check_array(shape, dtype, 2, key, source)
    with archive.open(f"{key}.npy") as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):  # at its end zipfile compares the checksum
            raise FileFormatError(f"{source}: '{key}' has more bytes than its header announces; the file is damaged")
    return array


def _read_h5(path: str | Path, key: str) -> NDArray[Any]:
    """Read a 3-D array of an HDF5 file whole."""
    with _open_h5(path, key) as dataset:
        as_float32 = dataset.dtype.kind == "f"  # converted by HDF5 block by block: no copy in float64
        array: NDArray[Any] = dataset.astype(np.float32)[...] if as_float32 else dataset[...]
    return array


@contextmanager
def _open_h5(path: str | Path, key: str) -> Iterator[h5py.Dataset]:
    """Open a 3-D array of numbers of an HDF5 file; only one that lies in this very file."""
    source = str(path)
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise FileFormatError(f"{source}: {missing_extra('h5py', 'h5')}") from error
    with _one_line_errors(source), h5py.File(path, "r") as file:
        if key not in file:
            found = ", ".join(list(file)[:5]) or "nothing"
            raise FileFormatError(
                f"{source}: no array '{key}' ({found} found); a TransUNet volume holds image and label"
            )
        if not isinstance(file.get(key, getlink=True), h5py.HardLink):
            raise FileFormatError(f"{source}: '{key}' is a link to elsewhere, which is not followed")
        dataset = file[key]
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise FileFormatError(f"{source}: '{key}' is no array stored in this file")
        _check_array(dataset.shape, dataset.dtype, 3, key, source)
        yield dataset


def _announced_bytes(dataset: h5py.Dataset) -> tuple[int, int]:
    """Of its voxels in memory, and of a mask."""
    voxels = math.prod(dataset.shape)
    return voxels * _dtype_in_memory(dataset).itemsize, voxels


def _dtype_in_memory(dataset: h5py.Dataset) -> np.dtype[Any]:
    """Floating point numbers become float32; others stay what they are, in native byte order."""
    return np.dtype(np.float32) if dataset.dtype.kind == "f" else dataset.dtype.newbyteorder("=")


def _check_array(shape: Sequence[int], dtype: np.dtype[Any], axes: int, key: str, source: str) -> None:
    if dtype.kind not in "biuf":
        raise FileFormatError(f"{source}: '{key}' holds {dtype}; numbers are expected")
    if len(shape) != axes:
        raise FileFormatError(f"{source}: '{key}' is {len(shape)}-D {tuple(shape)} where {axes}-D is expected")
    check_array_size(shape, dtype.itemsize, source)


def _finite(image: NDArray[Any], source: str) -> NDArray[Any]:
    """Check (..., rows, columns) plane by plane; floating point numbers become float32."""
    if image.dtype.kind != "f":
        return image
    with np.errstate(over="ignore"):
        image = image.astype(np.float32, copy=False)
    for plane in image:
        if not np.isfinite(plane).all():
            raise FileFormatError(f"{source}: intensities are NaN or infinite; repair the file")
    return image
