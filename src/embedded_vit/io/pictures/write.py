"""Pictures into PNG files, written whole or not at all; no library is needed for it.

Source: PNG (Portable Network Graphics) Specification, third edition, W3C, chapters 5, 9, 10 and 11.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_vit.io.atomic import atomic_path

__all__ = ["PICTURE_SUFFIX", "write_picture"]

PICTURE_SUFFIX = ".png"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR = 0, 2  # colour types
UP = 2  # the filter: each byte less the one above
COMPRESSION = 6
MOST_A_METRE = 2**31 - 1  # pixels


def write_picture(
    path: Path,
    pixels: NDArray[np.uint8],
    *,
    pixel_mm: tuple[float, float] | None = None,
    overwrite: bool = False,
    compression: int = COMPRESSION,
) -> None:
    """Write a PNG file.

    Args:
        path: The file.
        pixels: (height, width) uint8, grey or labels, or (height, width, 3) uint8.
        pixel_mm: Height and width of a pixel, which the file then states; None states none.
        overwrite: Whether a file may be there already.
        compression: 0 to 9, as zlib counts; 1 is fast.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    height, width = pixels.shape[:2]
    colour = COLOUR if pixels.ndim == 3 else GREY
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))]
    if pixel_mm is not None:
        across, down = (min(round(1000 / length), MOST_A_METRE) for length in (pixel_mm[1], pixel_mm[0]))
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", across, down, 1)))
    chunks += [_chunk(b"IDAT", zlib.compress(_filtered(pixels), compression)), _chunk(b"IEND", b"")]
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(SIGNATURE + b"".join(chunks))


def _filtered(pixels: NDArray[np.uint8]) -> bytes:
    """Return the rows as PNG stores them: a byte that names the filter, then the filtered bytes."""
    rows = pixels.reshape(len(pixels), -1)  # (height, width * channels)
    stored = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    stored[:, 0] = UP
    stored[:1, 1:] = rows[:1]
    np.subtract(rows[1:], rows[:-1], out=stored[1:, 1:])  # modulo 256, as the filter wants it
    return stored.tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
