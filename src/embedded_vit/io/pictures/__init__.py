"""Pictures: PNG, JPEG, TIFF and BMP files, grey or coloured, as scans of one slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["PICTURE_SUFFIX", "PictureSource", "is_picture", "write_picture"]

if TYPE_CHECKING:
    from embedded_vit.io.pictures.source import PictureSource, is_picture
    from embedded_vit.io.pictures.write import PICTURE_SUFFIX, write_picture
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {"source": ["PictureSource", "is_picture"], "write": ["PICTURE_SUFFIX", "write_picture"]},
    )
