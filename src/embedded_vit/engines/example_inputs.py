"""Inputs that are no scan: what an engine is tried and timed on where none is at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedded_vit.preprocessing import Preprocessing

__all__ = ["example_image"]


def example_image(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Noise of a network's input shape, (1, C, S, S) float32 in [-1, 1], the same at every call."""
    shape = (1, preprocessing.input_channels, preprocessing.image_size, preprocessing.image_size)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
