"""Pixels out of picture files, by Pillow: what is read of them, what is changed on the way, and what is refused.

Sizes are checked in the header, so no file can exhaust the memory. Only the formats that are named here are tried,
whatever the content says it is.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.boundary import PASSED_ON
from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.pictures.density import pixel_size_mm
from embedded_vit.preprocessing import MOST_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Picture", "PictureHeader", "read_header", "read_mask_pixels", "read_pixels"]

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM")
MOST_FILE_BYTES = 1 << 30  # 8192 x 8192 pixels of three 16-bit colours are 0.4 GiB
ORIENTATION = 0x0112  # EXIF: how the picture is to be turned before it is seen
GREY = {"1", "L", "LA", "La"}
GREY_16 = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
COLOUR = {"RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}
TRANSPARENT = {"RGBA", "RGBa", "LA", "La", "PA"}
LEAST_HIGH_BYTE = 32  # 16-bit colours that stay below an eighth of the range have few values in their high bytes
BLACK, FULL_WHITE, LEAST_BLACK_OR_WHITE = 48, 255, 0.95  # of masks in JPEG
LOWER_BITS = "16-bit colours are read with the precision of 8 bits"
TURNED = "turned as its EXIF orientation says; a mask must be drawn on the turned picture"
NO_ALPHA = "its transparency (alpha) was left out"


@dataclass(frozen=True)
class PictureHeader:
    """What a file says before its pixels are read.

    Attributes:
        size: (height, width) as the picture is seen.
        channels: 1 or 3.
        dtype: uint8 or uint16.
        pixel_mm: Height and width of a pixel; None where the file does not say them.
        remarks: What is changed on the way, a phrase each.
    """

    size: tuple[int, int]
    channels: int
    dtype: np.dtype[Any]
    pixel_mm: tuple[float, float] | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels as they are seen, and the digest of the file.

    Attributes:
        pixels: (channels, height, width) uint8 or uint16.
        sha256: Of the file, 64 hexadecimal digits.
        transparent: Whether some pixels are.
    """

    pixels: NDArray[Any]
    sha256: str
    transparent: bool


def read_header(path: Path) -> PictureHeader:
    """Read what a file says of its picture.

    Raises:
        FileFormatError: It is not a picture, or not one that is read.
    """
    with _opened(path, path) as image:
        return _header(image, str(path))


def read_pixels(path: Path) -> Picture:
    """Read a picture: grey as one channel, colours as red, green and blue.

    Raises:
        FileFormatError: As `read_header`, or the pixels are damaged.
    """
    content = _content(path)
    with _opened(io.BytesIO(content), path) as image:
        header = _header(image, str(path))
        wide = _is_16_bit_colour(image)
        seen = _upright(image)
        transparent = _is_transparent(seen)
        pixels = _channels(seen, str(path))
    if pixels.shape != (header.channels, *header.size):
        raise FileFormatError(f"{path}: the picture is not of the size that its header says; save it again")
    if wide and pixels.max(initial=0) < LEAST_HIGH_BYTE:
        raise FileFormatError(
            f"{path}: 16-bit colours that use less than an eighth of their range, of which 8 bits are read; stretch "
            "them to the whole range and save the picture again"
        )
    return Picture(pixels, hashlib.sha256(content).hexdigest(), transparent)


def read_mask_pixels(path: Path) -> NDArray[Any]:
    """Read the numbers of a mask: (height, width); of a palette the indices, not the colours.

    Raises:
        FileFormatError: As `read_pixels`, or it is coloured, or compressed with loss.
    """
    with _opened(io.BytesIO(_content(path)), path) as image:
        _header(image, str(path))
        if image.format == "JPEG":
            return _two_values(np.asarray(_upright(image).convert("L")), path)
        seen = _upright(image)
        if seen.mode == "P" and image.format != "GIF":  # programs number the colours of a GIF anew
            return np.asarray(seen)
        pixels = _channels(seen, str(path))
    if len(pixels) > 1 and not (pixels == pixels[:1]).all():
        raise FileFormatError(f"{path}: a coloured mask; save the number of the structure of each pixel, as grey PNG")
    return pixels[0]


def _two_values(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return black and white as they were before JPEG's compression, which changes numbers near edges.

    Raises:
        FileFormatError: More than a twentieth of the pixels is neither: the mask held other numbers.
    """
    black, white = pixels < BLACK, pixels >= FULL_WHITE - BLACK
    if (black | white).mean() < LEAST_BLACK_OR_WHITE or (pixels.any() and not white.any()):
        raise FileFormatError(
            f"{path}: a mask in JPEG of more than black and white, whose compression changes labels; save it as PNG"
        )
    return np.where(pixels > FULL_WHITE // 2, FULL_WHITE, 0).astype(np.uint8)


@contextmanager
def _opened(file: Path | io.BytesIO, path: Path) -> Iterator[Image]:
    """Open a file with Pillow; whatever it raises becomes one line.

    Raises:
        FileFormatError: There or while pixels are read: it is damaged, or of another kind.
    """
    try:
        from PIL import Image as pillow
        from PIL import UnidentifiedImageError
    except ImportError as error:
        raise FileFormatError(f"{path}: {missing_extra('Pillow, which reads pictures,', 'pictures')}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata, and of large pictures, whose size is checked here
        try:
            with pillow.open(file, formats=FORMATS) as image:
                yield image
        except PASSED_ON:
            raise
        except UnidentifiedImageError as error:
            raise FileFormatError(
                f"{path}: not a PNG, JPEG, TIFF, BMP, GIF or PPM picture; save it again as PNG"
            ) from error
        except pillow.DecompressionBombError as error:
            raise FileFormatError(_too_large(path)) from error
        except FileNotFoundError as error:
            raise FileFormatError(f"{path}: there is no such file") from error
        except Exception as error:  # Pillow raises whatever a damaged file leads to
            raise FileFormatError(f"{path}: the picture is truncated or damaged; copy it again") from error


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MOST_FILE_BYTES:
            raise FileFormatError(f"{path}: {size:,} bytes, at most {MOST_FILE_BYTES:,} are read; reduce the picture")
        return path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def _too_large(path: object) -> str:
    return f"{path}: more than {MOST_PIXELS:,} pixels along a side; crop or reduce the picture"


def _header(image: Image, source: str) -> PictureHeader:
    """Check what a file says.

    Raises:
        FileFormatError: It is too large, has several pages, or numbers of another kind.
    """
    width, height = image.size
    if max(width, height) > MOST_PIXELS:
        raise FileFormatError(_too_large(source))
    if min(width, height) < 1:
        raise FileFormatError(f"{source}: the picture has no pixels")
    if (pages := getattr(image, "n_frames", 1)) != 1:
        raise FileFormatError(f"{source}: holds {pages} pictures, one is expected; save each to a file of its own")
    if image.mode not in GREY | GREY_16 | COLOUR:
        raise FileFormatError(
            f"{source}: pixels of the kind {image.mode!r:.10}; 8 or 16 bits, grey or colours, are expected: convert it"
        )
    remarks = [LOWER_BITS] if _is_16_bit_colour(image) else []
    orientation = image.getexif().get(ORIENTATION, 1)
    size, pixel_mm = (height, width), pixel_size_mm(image.info, getattr(image, "tag_v2", {}))
    if orientation in range(2, 9):
        remarks.append(TURNED)
        if orientation >= 5:
            pixel_mm = None if pixel_mm is None else pixel_mm[::-1]
            size = size if image.format == "TIFF" else size[::-1]  # Pillow says the turned size of a TIFF file
    dtype = np.dtype(np.uint16 if image.mode in GREY_16 else np.uint8)
    return PictureHeader(size, 3 if image.mode in COLOUR else 1, dtype, pixel_mm, tuple(remarks))


def _is_16_bit_colour(image: Image) -> bool:
    """Whether the file holds 16-bit colours, of which Pillow reads the upper 8 bits."""
    if image.mode not in COLOUR | TRANSPARENT:
        return False
    stored = [tile[3] for tile in getattr(image, "tile", [])]
    return any("16" in str(each[0] if isinstance(each, tuple) and each else each) for each in stored)


def _upright(image: Image) -> Image:
    """Read the pixels and turn them as the EXIF orientation says; Pillow itself turns those of TIFF."""
    from PIL import ImageOps

    image.load()
    return image if image.format == "TIFF" else ImageOps.exif_transpose(image)


def _is_transparent(image: Image) -> bool:
    if image.mode in TRANSPARENT:
        return bool(np.asarray(image.getchannel("A")).min() < 255) if "A" in image.getbands() else True
    return "transparency" in image.info and image.mode == "P"


def _channels(image: Image, source: str) -> NDArray[Any]:
    """Return the pixels as (channels, height, width) uint8 or uint16."""
    if image.mode in GREY_16:
        numbers = np.asarray(image)
        if numbers.min(initial=0) < 0 or numbers.max(initial=0) > 65535:
            raise FileFormatError(f"{source}: numbers of more than 16 bits; save the picture with 8 or 16 bits")
        return numbers.astype(np.uint16)[None]
    if image.mode in GREY:
        return np.asarray(image.convert("L"))[None]
    return np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)  # (3, height, width)
