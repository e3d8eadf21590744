"""TransUNet's test volumes: `.npy.h5` files with the arrays `image` and `label`.

h5py is imported when a volume is read: a device that reads NIfTI files alone needs none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.boundary import one_line_errors
from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.label_values import labels_from
from embedded_vit.io.limits import check_compressed_size
from embedded_vit.io.transunet.arrays import check_array
from embedded_vit.volume import UPRIGHT_AFFINE, LabelMap

if TYPE_CHECKING:
    import h5py

__all__ = ["VOLUME_SUFFIX", "VOLUME_SUFFIXES", "dtype_in_memory", "open_h5", "read_h5_array", "read_h5_labels"]

VOLUME_SUFFIX = ".npy.h5"  # as TransUNet names them
VOLUME_SUFFIXES = (VOLUME_SUFFIX, ".npy.hdf5", ".h5", ".hdf5")


def read_h5_labels(path: str | Path) -> LabelMap:
    """Read the mask of a test volume.

    Args:
        path: An HDF5 file with `label` (slices, rows, columns).

    Raises:
        FileFormatError: As `open_h5`, or a number is not an integer in 0 to 255.
    """
    source = str(path)
    with open_h5(path, "label") as dataset:
        stored = read_h5_array(dataset)
    return LabelMap(labels_from(stored, source), UPRIGHT_AFFINE, spacing_known=False, source=source)


def read_h5_array(dataset: h5py.Dataset) -> NDArray[Any]:
    """Read an array whole; floating point numbers become float32."""
    if dataset.dtype.kind == "f":  # converted by HDF5 block by block: no copy in float64
        converted: NDArray[np.float32] = dataset.astype(np.float32)[...]
        return converted
    array: NDArray[Any] = dataset[...]
    return array


@contextmanager
def open_h5(path: str | Path, key: str) -> Iterator[h5py.Dataset]:
    """Open a 3-D array of numbers of an HDF5 file; only one that lies in this very file.

    Raises:
        FileFormatError: There or while it is read: the file is unreadable or damaged, lacks the array, or the array is
            not 3-D, not of numbers or larger than is read.
    """
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
            raise FileFormatError(f"{source}: '{key}' is not an array stored in this file")
        check_array(dataset.shape, dataset.dtype, 3, key, source)
        # What was never written has no bytes in the file, and comes as zeros.
        check_compressed_size(dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize, source)
        yield dataset


def dtype_in_memory(dataset: h5py.Dataset) -> np.dtype[Any]:
    """Return the dtype of the array that is read: float32 for floating point numbers, else as stored, native order."""
    return np.dtype(np.float32) if dataset.dtype.kind == "f" else dataset.dtype.newbyteorder("=")
