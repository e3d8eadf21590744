"""Masks drawn in colour over grey pictures, for reports and previews."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedded_vit.labels import LabelSet
from embedded_vit.volume import border

__all__ = ["overlay"]

OPACITY = 0.45  # of a structure's area; its outline is opaque


def overlay(grey: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelSet) -> NDArray[np.uint8]:
    """Draw the structures over a grey picture: areas half transparent, outlines opaque.

    Args:
        grey: (height, width) uint8.
        mask: (height, width) uint8 labels.
        labels: The structures and their colours.

    Returns:
        (height, width, 3) uint8.
    """
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    for label in labels.labels:
        area = mask == label.id
        if area.any():
            picture[area] = (1 - OPACITY) * picture[area] + OPACITY * np.array(label.rgb, np.float32)
            picture[border(area)] = label.rgb
    return np.rint(picture).astype(np.uint8)
