"""Logits of pixels straight from the tokens that expand to them: patch expanding, LayerNorm and head as one function.

LayerNorm divides what a token t expands to, less its mean, by its length, and the head is linear in the rest. With E
the centred expanding weights of one of its pixels, that pixel's logits are (A t) / |E t| + c, and A is a K x C matrix.
A training step then neither writes normalised features of every pixel nor multiplies them by the head's weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["token_logits"]


def token_logits(
    tokens: Tensor, size: tuple[int, int], scale: int, expand: nn.Linear, norm: nn.LayerNorm, head: nn.Linear
) -> Tensor:
    """What `head(norm(...))` gives for every pixel that `expand` makes of a token, but for rounding.

    Args:
        tokens: (B, N, C).
        size: (H, W) with H x W = N.
        scale: Of height and width.
        expand: C -> scale² D, read as (row, column, channel), without bias.
        norm: Over D.
        head: D -> K.

    Returns:
        (B, K, scale H, scale W).
    """
    with torch.autocast(tokens.device.type, enabled=False):
        weights = expand.weight.unflatten(0, (scale * scale, -1))  # (scale², D, C)
        centred = weights - weights.mean(dim=1, keepdim=True)
        reading = ((head.weight * norm.weight) @ centred).transpose(0, 1)  # (K, scale², C)
        constant = head.weight @ norm.bias + head.bias  # (K,)
    expanded = functional.linear(tokens, centred.flatten(0, 1)).unflatten(2, (scale * scale, -1))  # (B, N, scale², D)
    inverse = (_SquaredLength.apply(expanded) / expanded.shape[3] + norm.eps).rsqrt()  # (B, N, scale²)
    logits = functional.linear(tokens, reading.flatten(0, 1))  # (B, N, K scale²)
    pixels = _pixels(logits, size, scale) * _pixels(inverse.to(logits.dtype), size, scale)
    return pixels + constant.to(logits.dtype)[:, None, None]


class _SquaredLength(torch.autograd.Function):
    """(..., D) -> (...) in float32: autograd would pass over the D features more than once either way."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        return torch.linalg.vector_norm(features, dim=-1).float().square()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        return features * (2 * gradient).to(features.dtype)[..., None]


def _pixels(values: Tensor, size: tuple[int, int], scale: int) -> Tensor:
    """(B, N, K scale²) -> (B, K, scale H, scale W)."""
    height, width = size
    values = values.reshape(len(values), height, width, -1, scale, scale).permute(0, 3, 1, 4, 2, 5)
    return values.reshape(len(values), -1, scale * height, scale * width)
