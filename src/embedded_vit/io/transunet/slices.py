"""TransUNet's training slices: `.npz` files with the arrays `image` and `label`."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.boundary import one_line_errors
from embedded_vit.errors import FileFormatError
from embedded_vit.io.label_values import labels_from
from embedded_vit.io.limits import check_array_size, check_compressed_size
from embedded_vit.io.transunet.arrays import check_array, finite, volume_of
from embedded_vit.volume import UPRIGHT_AFFINE, LabelMap, Volume

__all__ = ["SLICE_SUFFIX", "read_slice", "stack_images", "stack_labels"]

SLICE_SUFFIX = ".npz"


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
    with one_line_errors(source), zipfile.ZipFile(path) as archive:
        image = _read_member(archive, "image", source)
        label = _read_member(archive, "label", source)
    if label.shape != image.shape:
        raise FileFormatError(f"{source}: 'label' is {label.shape} and 'image' {image.shape}; they must be equal")
    return finite(image, source), labels_from(label, source)


def stack_images(paths: Sequence[str | Path], source: str) -> Volume:
    """Read the images of one case's slices, lowest first, as a volume.

    Args:
        paths: At least one `.npz` file; all of one shape.
        source: Name of the case, for messages.

    Raises:
        FileFormatError: As `read_slice`, or a slice has another shape than the first.
    """

    def read(path: str | Path) -> NDArray[Any]:
        with one_line_errors(str(path)), zipfile.ZipFile(path) as archive:
            return finite(_read_member(archive, "image", str(path)), str(path))

    return volume_of(_stack(paths, read, source), source)


def stack_labels(paths: Sequence[str | Path], source: str) -> LabelMap:
    """Read the masks of one case's slices, lowest first; arguments and errors as `stack_images`."""

    def read(path: str | Path) -> NDArray[Any]:
        with one_line_errors(str(path)), zipfile.ZipFile(path) as archive:
            return labels_from(_read_member(archive, "label", str(path)), str(path))

    return LabelMap(_stack(paths, read, source), UPRIGHT_AFFINE, spacing_known=False, source=source)


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
    check_array(shape, dtype, 2, key, source)
    expected = math.prod(shape) * dtype.itemsize
    check_compressed_size(archive.getinfo(f"{key}.npy").compress_size, expected, source)
    with archive.open(f"{key}.npy") as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):  # at its end zipfile compares the checksum
            raise FileFormatError(f"{source}: '{key}' has more bytes than its header announces; the file is damaged")
    return array
