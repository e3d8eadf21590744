"""Bilinear enlargement, with a fast way back on a CPU.

Shape legend: B batch, C channels, H x W pixels, N the factor.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["enlarged"]


def enlarged(image: Tensor, factor: int) -> Tensor:
    """Enlarge (B, C, H, W) to (B, C, N H, N W), bilinear with pixel centres aligned.

    PyTorch adds up this gradient pixel by pixel on a CPU; as two products of matrices it takes a fifth to a third of
    the time.
    """
    if image.is_cuda or torch.onnx.is_in_onnx_export():
        return _interpolated(image, factor)
    result: Tensor = _Enlarged.apply(image, factor)
    return result


def _interpolated(image: Tensor, factor: int) -> Tensor:
    return functional.interpolate(image, scale_factor=factor, mode="bilinear", align_corners=False)


class _Enlarged(torch.autograd.Function):
    """Enlargement is linear in rows and in columns, so its gradient is rows^T @ gradient @ columns."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, factor: int) -> Tensor:
        ctx.factor, ctx.sides = factor, image.shape[2:]
        return _interpolated(image, factor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows, columns = (_weights(side, ctx.factor).to(gradient.dtype) for side in ctx.sides)
        return rows.mT @ (gradient @ columns), None


@cache
def _weights(side: int, factor: int) -> Tensor:
    """Return the matrix (N side, side) that enlarges a column of pixels."""
    columns = torch.eye(side)[None]  # (1, C, W): each channel a unit vector
    return functional.interpolate(columns, scale_factor=factor, mode="linear", align_corners=False)[0].mT.contiguous()
