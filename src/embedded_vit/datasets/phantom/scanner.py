"""What a scanner adds to phantoms: mottling, softened edges, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["scanned", "slow_texture"]

TEXTURE_MM = 9.0  # distance between the nodes of the slow mottling


def slow_texture(
    rng: np.random.Generator, slices: int, field_mm: float, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return slow random mottling of unit deviation: interpolation (size, nodes), nodes (slices, nodes, nodes)."""
    nodes = int(np.ceil(field_mm / TEXTURE_MM)) + 1
    place = np.linspace(0, nodes - 1, size)[:, None] - np.arange(nodes)[None, :]
    interpolation = np.maximum(0, 1 - np.abs(place)).astype(np.float32)
    values = rng.standard_normal((slices + 1, nodes, nodes)).astype(np.float32)
    return interpolation, values[1:] + values[:-1]  # interpolation and the sum of two leave a deviation of about one


def scanned(image: NDArray[np.float32], noise: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the image as a scanner gives it: softened edges, and noise with a little correlation.

    Args:
        image: (rows, columns) float32.
        noise: Standard deviation of the noise.
        rng: Its source.
    """
    softened = image.copy()
    softened[1:-1] += 0.5 * (image[:-2] + image[2:]) - image[1:-1] * 0.5
    softened[1:-1] /= 1.5
    image = softened.copy()
    image[:, 1:-1] += 0.5 * (softened[:, :-2] + softened[:, 2:]) - softened[:, 1:-1] * 0.5
    image[:, 1:-1] /= 1.5
    grain = rng.standard_normal((image.shape[0] + 1, image.shape[1] + 1), np.float32)
    return image + np.float32(noise / np.sqrt(2)) * (grain[1:, 1:] + grain[:-1, :-1])
