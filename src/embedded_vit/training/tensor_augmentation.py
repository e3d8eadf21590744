"""The augmentation of the recipe `modern` as one function of tensors, as a CUDA graph needs it.

Every slice passes through the same operations, whether its distortion uses them or not, because on a GPU it takes
longer to launch them than to compute them. The same distortions and noise give the images of `augmentation.py`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from embedded_vit.training.augmentation import (
    bias_field,
    blurred,
    curved,
    power_of,
    sampled,
    sampling_grid,
    stretched,
)
from embedded_vit.training.distortion import BIAS_TERMS, CONTROL_POINTS, CURVE_TERMS, Distortion

__all__ = ["WIDTH", "augmented", "numbers_of"]

# The parts of a slice's row of numbers, in order, and the length of each.
FIELDS = {
    "slices": 3,  # the slice above, the slice itself, the slice below
    "matrix": 6,
    "displacement": 2 * CONTROL_POINTS**2,
    "curve": CURVE_TERMS,
    "gamma": 1,
    "gain": 1,
    "offset": 1,
    "bias": BIAS_TERMS,
    "blur_pixels": 1,
    "noise": 1,
    "rectangle": 4,  # of another slice, put over this one: rows from and to, columns from and to
}
WIDTH = sum(FIELDS.values())


def numbers_of(distortion: Distortion, slices: ArrayLike, rectangle: ArrayLike = (0, 0, 0, 0)) -> NDArray[np.float32]:
    """Return a distortion as a row of numbers (WIDTH,), its patch left out.

    Args:
        distortion: As `draw` draws it for `modern`.
        slices: Indices into the slice set: above, itself, below.
        rectangle: The place of the patch, as fractions of the side.
    """
    values: dict[str, ArrayLike] = vars(distortion) | {"slices": slices, "rectangle": rectangle}
    return np.concatenate([np.ravel(values[name]) for name in FIELDS]).astype(np.float32)


def augmented(
    images: Tensor,
    labels: Tensor,
    functions: Tensor,
    own: Tensor,
    others: Tensor | None,
    noise: Tensor,
    *,
    context_slices: int,
) -> tuple[Tensor, Tensor]:
    """Read a batch, distort it, and put rectangles of others over it.

    Args:
        images: (N, channels, S, S) float16 in [-1, 1], all slices.
        labels: (N, S, S) uint8.
        functions: (S, 6) as `functions_of_place` gives them.
        own: (B, WIDTH), `numbers_of` the batch.
        others: (B, WIDTH), `numbers_of` the slices that the rectangles come from; None without rectangles.
        noise: (2, B, C, S, S), or (1, B, C, S, S) without others; normally distributed. C is channels times context.
        context_slices: 1 or 3.

    Returns:
        (B, C, S, S) float32 in [-1, 1] and (B, S, S) int64.
    """
    batch, truth = _distorted(images, labels, functions, own, noise[0], context_slices)
    if others is None:
        return batch, truth
    other_batch, other_truth = _distorted(images, labels, functions, others, noise[1], context_slices)
    size = images.shape[-1]
    edges = (_field(own, "rectangle") * size).round()[:, :, None]  # (B, 4, 1)
    pixels = torch.arange(size, device=own.device)
    rows = (pixels >= edges[:, 0]) & (pixels < edges[:, 1])
    columns = (pixels >= edges[:, 2]) & (pixels < edges[:, 3])
    inside = rows[:, :, None] & columns[:, None, :]
    return torch.where(inside[:, None], other_batch, batch), torch.where(inside, other_truth, truth)


def _field(numbers: Tensor, name: str) -> Tensor:
    """Return a field of the rows of numbers: (B, length)."""
    names = list(FIELDS)
    first = sum(FIELDS[before] for before in names[: names.index(name)])
    return numbers[:, first : first + FIELDS[name]]


def _distorted(
    images: Tensor, labels: Tensor, functions: Tensor, numbers: Tensor, noise: Tensor, context_slices: int
) -> tuple[Tensor, Tensor]:
    slices = _field(numbers, "slices").long()
    seen = slices if context_slices > 1 else slices[:, 1:2]
    batch = images[seen].flatten(1, 2).float()  # (B, context, channels, S, S) -> (B, C, S, S)
    matrices = _field(numbers, "matrix").reshape(-1, 2, 3)
    displacements = _field(numbers, "displacement").reshape(-1, 2, CONTROL_POINTS, CONTROL_POINTS)
    batch, truth = sampled(batch, labels[slices[:, 1]], sampling_grid(matrices, displacements, functions))
    gamma, gain, offset, blur, strength = (
        _field(numbers, name)[:, 0] for name in ("gamma", "gain", "offset", "blur_pixels", "noise")
    )
    batch = power_of(curved(blurred(batch, blur), _field(numbers, "curve")), gamma)
    batch = stretched(batch, gain, offset) * bias_field(_field(numbers, "bias"), images.shape[-1])
    batch = batch + strength[:, None, None, None] * noise
    return batch.clamp(0, 1) * 2 - 1, truth
