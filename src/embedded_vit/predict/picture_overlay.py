"""A mask drawn over the picture that it belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedded_vit.contract import Contract
from embedded_vit.overlay import overlay
from embedded_vit.preprocessing import Intensities
from embedded_vit.volume import Mask, Scan

__all__ = ["picture_overlay"]


def picture_overlay(scan: Scan, mask: Mask, contract: Contract) -> NDArray[np.uint8]:
    """Draw the structures over a picture, in the range of intensities that the network sees.

    Args:
        scan: The picture, (channels, 1, height, width).
        mask: On its grid.
        contract: Of the network.

    Returns:
        (height, width, 3) uint8.
    """
    seen = Intensities.of(scan, contract.preprocessing).normalise(scan.intensities(0))  # (channels, height, width)
    pixels = np.rint(np.moveaxis(seen, 0, -1) * 255).astype(np.uint8)
    return overlay(pixels if pixels.shape[-1] == 3 else pixels[..., 0], mask.get(0), contract.labels)
