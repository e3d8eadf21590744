"""TransUNet's test volumes: `.npy.h5` files with the arrays `image` and `label`.

h5py is imported when a volume is read: a device that reads NIfTI files alone needs none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.label_values import labels_from
from embedded_vit.io.spool import Spool, SpooledVolume, SpoolView, check_free_disk, slice_axis_of
from embedded_vit.io.transunet.arrays import (
    TRANSUNET_AFFINE,
    check_array,
    finite,
    one_line_errors,
    scaling,
    volume_of,
)
from embedded_vit.volume import LabelMap, Volume

if TYPE_CHECKING:
    import h5py

__all__ = ["announced_h5_bytes", "is_h5_volume", "read_h5_labels", "read_h5_volume", "spool_h5_volume"]


def is_h5_volume(path: str | Path) -> bool:
    """Whether a file's name ends as a TransUNet volume's does."""
    return str(path).lower().endswith((".h5", ".hdf5"))


def read_h5_volume(path: str | Path) -> Volume:
    """Read the image of a test volume; a mask in the file is left alone, as there need not be one.

    Args:
        path: An HDF5 file with `image` (slices, rows, columns).

    Raises:
        FileFormatError: The file is unreadable, damaged, lacks `image`, or it is not 3-D or not finite.
    """
    source = str(path)
    return volume_of(finite(_read_h5(path, "image"), source), source)


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
            block = finite(dataset[start : start + at_once], source)  # (slices, rows, columns)
            for index, plane in enumerate(block, start):
                spool.write_slice(index, plane.T)
            lowest, highest = min(lowest, float(block.min())), max(highest, float(block.max()))
    return SpooledVolume(
        (spool,),
        SpoolView((slices, rows, columns), spool.axes),
        lowest,
        TRANSUNET_AFFINE,
        *scaling(lowest, highest),
        spacing_known=False,
        source=source,
    )


def read_h5_labels(path: str | Path) -> LabelMap:
    """Read only the mask of a test volume, `label`; errors as `read_h5_volume`."""
    source = str(path)
    return LabelMap(labels_from(_read_h5(path, "label"), source), TRANSUNET_AFFINE, spacing_known=False, source=source)


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
    with one_line_errors(source), h5py.File(path, "r") as file:
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
        check_array(dataset.shape, dataset.dtype, 3, key, source)
        yield dataset


def _announced_bytes(dataset: h5py.Dataset) -> tuple[int, int]:
    """Of its voxels in memory, and of a mask."""
    voxels = math.prod(dataset.shape)
    return voxels * _dtype_in_memory(dataset).itemsize, voxels


def _dtype_in_memory(dataset: h5py.Dataset) -> np.dtype[Any]:
    """Floating point numbers become float32; others stay what they are, in native byte order."""
    return np.dtype(np.float32) if dataset.dtype.kind == "f" else dataset.dtype.newbyteorder("=")
