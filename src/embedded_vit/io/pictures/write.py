"""Pictures into PNG files, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import OutputError, missing_extra
from embedded_vit.io.atomic import atomic_path

__all__ = ["PICTURE_SUFFIX", "write_picture"]

PICTURE_SUFFIX = ".png"
MM_PER_INCH = 25.4


def write_picture(
    path: Path, pixels: NDArray[Any], *, pixel_mm: tuple[float, float] | None = None, overwrite: bool = False
) -> None:
    """Write a PNG file.

    Args:
        path: The file.
        pixels: (height, width) uint8, grey or labels, or (height, width, 3) uint8.
        pixel_mm: Height and width of a pixel, which the file then states; None states none.
        overwrite: Whether a file may be there already.

    Raises:
        OutputError: Pillow is not installed, or the file exists or cannot be written.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise OutputError(f"{path}: {missing_extra('Pillow, which writes pictures,', 'pictures')}") from error
    density = {} if pixel_mm is None else {"dpi": (MM_PER_INCH / pixel_mm[1], MM_PER_INCH / pixel_mm[0])}
    with atomic_path(path, overwrite=overwrite) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="PNG", **density)
