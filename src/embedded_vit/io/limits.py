"""Limits on sizes. A header is checked against them before memory is allocated, so no file can exhaust it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from embedded_vit.errors import FileFormatError

__all__ = ["MAX_BYTES", "MAX_VOXELS", "check_array_size", "check_compressed_size"]

MAX_VOXELS = 2**32  # a whole-body CT of 512 x 512 x 2000 is an eighth of it; what memory lacks goes to the disk
MAX_BYTES = 4 * MAX_VOXELS
DEFLATE_BEST_RATIO = 1032  # no deflate stream expands more (zlib's technical notes)


def check_array_size(shape: Sequence[int], bytes_per_voxel: int, source: str) -> None:
    """Refuse an array that is larger than any scanner makes.

    Args:
        shape: Length of each axis, as a header states it.
        bytes_per_voxel: Size of one stored number.
        source: File, for the message.

    Raises:
        FileFormatError: An axis is empty, or the array has too many voxels or bytes.
    """
    lengths = " x ".join(str(length) for length in shape)
    if not shape or min(shape) < 1:
        raise FileFormatError(f"{source}: the array is empty ({lengths or 'no axes'}); a scan was expected")
    voxels = math.prod(int(length) for length in shape)
    if voxels > MAX_VOXELS or voxels * bytes_per_voxel > MAX_BYTES:
        raise FileFormatError(
            f"{source}: the header announces {lengths} voxels of {bytes_per_voxel} bytes; at most {MAX_VOXELS:,} "
            f"voxels and {MAX_BYTES:,} bytes are read; crop or resample the scan"
        )


def check_compressed_size(compressed_bytes: int, expected_bytes: int, source: str) -> None:
    """Refuse a compressed file that is too short to hold what its header announces.

    Raises:
        FileFormatError: No deflate stream of `compressed_bytes` can expand to `expected_bytes`.
    """
    if expected_bytes > compressed_bytes * DEFLATE_BEST_RATIO:
        raise FileFormatError(
            f"{source}: truncated: {compressed_bytes:,} compressed bytes cannot hold the {expected_bytes:,} bytes that "
            "the header announces; copy the file again"
        )
