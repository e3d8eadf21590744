"""Generated network inputs, on which an engine is tried, checked or timed without a scan.

Each function returns the same numbers at every call. The cache of engine trials (`trial.py`) does not have the images
in its key, so if `soft_images` changes, that key must change too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedded_vit.preprocessing import Grid, Preprocessing

__all__ = ["example_image", "grainy_images", "soft_images"]

SOFT_IMAGES = 3
COARSE_PIXELS = 8  # side of the noise that soft images are enlarged from
GRAINS_PIXELS = (8, 4, 2, 1)
IMAGES_A_GRAIN = 4


def example_image(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return white noise, to time an engine on: (1, C, S, S) float32 in [-1, 1]."""
    shape = (1, preprocessing.input_channels, preprocessing.image_size, preprocessing.image_size)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def soft_images(channels: int, size: int) -> list[NDArray[np.float32]]:
    """Return smooth noise, to try an engine on, since a scan is not white noise: each (1, C, S, S) in [-1, 1]."""
    random = np.random.default_rng(0)
    enlarge = Grid.between((size, size), COARSE_PIXELS).enlarge
    shape = (channels, COARSE_PIXELS, COARSE_PIXELS)
    return [enlarge(random.uniform(-1, 1, shape).astype(np.float32))[None] for _ in range(SOFT_IMAGES)]


def grainy_images(preprocessing: Preprocessing) -> list[NDArray[np.float32]]:
    """Return noise of coarse to fine grain, to check an export on: each (1, C, S, S) float32 in [-1, 1]."""
    size, channels = preprocessing.image_size, preprocessing.input_channels
    random = np.random.default_rng(0)
    images = []
    for grain in GRAINS_PIXELS * IMAGES_A_GRAIN:
        coarse = random.uniform(-1, 1, (channels, -(-size // grain), -(-size // grain)))
        fine = np.kron(coarse, np.ones((1, grain, grain)))  # (C, S or more, S or more)
        images.append(fine[None, :, :size, :size].astype(np.float32))
    return images
