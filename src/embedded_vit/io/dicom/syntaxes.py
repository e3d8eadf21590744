"""The transfer syntaxes that can be read here, which a node offers to those who send to it."""

from __future__ import annotations

from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

__all__ = ["readable_syntaxes"]

UNCOMPRESSED = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)
LOSSLESS = (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.JPEGLossless)
LOSSY = (uid.JPEG2000, uid.JPEGLSNearLossless)


def readable_syntaxes() -> list[str]:
    """Return the UIDs of the transfer syntaxes whose pixels can be decoded with what is installed, the best first."""
    return [str(syntax) for syntax in (*UNCOMPRESSED, *LOSSLESS, *LOSSY) if get_decoder(syntax).is_available]
