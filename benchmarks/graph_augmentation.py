"""The augmentation of `modern` as one function of tensors, the same operations for every slice, as a CUDA graph needs.

It gives what `embedded_vit.training.augmentation` gives for the same distortions, but for the noise, which is handed
over. What a slice is spared there costs time here; on a GPU the launches cost more.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from embedded_vit.training.augmentation import CONTROL_POINTS, CURVE_TERMS, Distortion

__all__ = ["WIDTH", "augmented", "numbers_of"]

# What a slice's row of numbers holds, in order, with the length of each.
FIELDS = {
    "slices": 3,  # the slice above, itself, the one below
    "matrix": 6,
    "displacement": 2 * CONTROL_POINTS**2,
    "curve": CURVE_TERMS,
    "gamma": 1,
    "gain": 1,
    "offset": 1,
    "bias": 5,
    "blur_pixels": 1,
    "noise": 1,
    "rectangle": 4,  # of another slice, put over this one: rows from and to, columns from and to
}
WIDTH = sum(FIELDS.values())
BLUR_RADIUS = 3


def numbers_of(distortion: Distortion, slices: ArrayLike, rectangle: ArrayLike = (0, 0, 0, 0)) -> NDArray[np.float32]:
    """A distortion as a row of numbers, its patch left out.

    Args:
        distortion: As `embedded_vit.training.augmentation.draw` draws it for `modern`.
        slices: Of the slice set: above, itself, below.
        rectangle: What the patch covers, as parts of the side.
    """
    values: dict[str, ArrayLike] = vars(distortion) | {"slices": slices, "rectangle": rectangle}
    return np.concatenate([np.ravel(values[name]) for name in FIELDS]).astype(np.float32)


def augmented(
    images: Tensor, labels: Tensor, own: Tensor, others: Tensor | None, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Read a batch, distort it, and put rectangles of others over it.

    Args:
        images: (N, S, S) float16 in [-1, 1], all slices.
        labels: (N, S, S) uint8.
        own: (B, WIDTH), `numbers_of` the batch.
        others: (B, WIDTH) of the slices that the rectangles are taken from; None where there are none.
        noise: (2, B, 3, S, S), or (1, B, 3, S, S) without others; normally distributed.

    Returns:
        (B, 3, S, S) float32 in [-1, 1] and (B, S, S) int64.
    """
    batch, truth = _distorted(images, labels, own, noise[0])
    if others is None:
        return batch, truth
    other_batch, other_truth = _distorted(images, labels, others, noise[1])
    size = images.shape[-1]
    edges = (_field(own, "rectangle") * size).round()[:, :, None]  # (B, 4, 1)
    pixels = torch.arange(size, device=own.device)
    rows = (pixels >= edges[:, 0]) & (pixels < edges[:, 1])
    columns = (pixels >= edges[:, 2]) & (pixels < edges[:, 3])
    inside = rows[:, :, None] & columns[:, None, :]
    return torch.where(inside[:, None], other_batch, batch), torch.where(inside, other_truth, truth)


def _field(numbers: Tensor, name: str) -> Tensor:
    """(B, length) of a field."""
    names = list(FIELDS)
    first = sum(FIELDS[before] for before in names[: names.index(name)])
    return numbers[:, first : first + FIELDS[name]]


def _distorted(images: Tensor, labels: Tensor, numbers: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    count, size = len(numbers), images.shape[-1]

    def each(name: str) -> Tensor:
        return _field(numbers, name)[:, :, None, None]

    slices = _field(numbers, "slices").long()
    batch, truth = images[slices].float() / 2 + 0.5, labels[slices[:, 1]].float()[:, None]
    grid = functional.affine_grid(_field(numbers, "matrix").reshape(-1, 2, 3), [count, 1, size, size], False)
    displacement = _field(numbers, "displacement").reshape(-1, 2, CONTROL_POINTS, CONTROL_POINTS)
    grid = grid + functional.interpolate(displacement, (size, size), mode="bicubic", align_corners=True).movedim(1, -1)
    batch = functional.grid_sample(batch, grid, mode="bilinear", align_corners=False)
    truth = functional.grid_sample(truth, grid, mode="nearest", align_corners=False)[:, 0].long()
    batch = _blurred(batch, each("blur_pixels"))
    curve = each("curve")
    curved = batch
    for term in range(1, CURVE_TERMS + 1):
        curved = curved + curve[:, term - 1, None] / (term * math.pi) * torch.sin(term * math.pi * batch)
    batch = curved.clamp(min=1e-12) ** each("gamma")
    batch = (batch - 0.5) * each("gain") + (0.5 + each("offset"))
    x = torch.linspace(-1, 1, size, device=numbers.device)
    y, bias = x[:, None], each("bias")
    field = bias[:, 0] * x + bias[:, 1] * y + bias[:, 2] * x * y + bias[:, 3] * x * x + bias[:, 4] * y * y  # (B, S, S)
    batch = batch * field.exp()[:, None] + each("noise") * noise
    return batch.clamp(0, 1) * 2 - 1, truth


def _blurred(batch: Tensor, sigma: Tensor) -> Tensor:
    """(B, C, S, S), sigma (B, 1, 1, 1) in pixels; 0 leaves a slice as it is."""
    size = batch.shape[-1]
    offsets = range(-BLUR_RADIUS, BLUR_RADIUS + 1)
    weights = [torch.exp(-0.5 * (offset / sigma.clamp(min=0.05)) ** 2) for offset in offsets]
    weights = [weight / torch.stack(weights).sum(dim=0) for weight in weights]
    padded = functional.pad(batch, [BLUR_RADIUS] * 4, mode="replicate")
    rows = torch.stack([weight * padded[:, :, i : i + size] for i, weight in enumerate(weights)]).sum(dim=0)
    return torch.stack([weight * rows[..., i : i + size] for i, weight in enumerate(weights)]).sum(dim=0)
