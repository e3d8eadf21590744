"""Masks drawn in colour over pictures, for reports and previews."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedded_vit.labels import LabelSet
from embedded_vit.volume import border

__all__ = ["overlay"]

OPACITY = 0.45  # of a structure's area; its outline is opaque


def overlay(picture: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelSet) -> NDArray[np.uint8]:
    """Draw the structures over a picture: areas half transparent, outlines opaque.

    Args:
        picture: (height, width) uint8, or (height, width, 3) uint8.
        mask: (height, width) uint8 labels.
        labels: The structures and their colours.

    Returns:
        (height, width, 3) uint8.
    """
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    drawn = colours.astype(np.float32)
    for label in labels.labels:
        area = mask == label.id
        if area.any():
            drawn[area] = (1 - OPACITY) * drawn[area] + OPACITY * np.array(label.rgb, np.float32)
            drawn[border(area)] = label.rgb
    return np.rint(drawn).astype(np.uint8)
