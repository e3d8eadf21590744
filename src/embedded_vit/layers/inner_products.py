"""Inner products of channels over all tokens, with gradients in the memory order of tokens.

Autograd would leave the gradient of `xᵀ` channels-first, and the next layer would have to copy it into order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["gram_matrix", "inner_products"]


def inner_products(left: Tensor, right: Tensor) -> Tensor:
    """Multiply tokens (B, N, C) and (B, N, D): leftᵀ right, (B, C, D)."""
    return left.mT @ right if torch.onnx.is_in_onnx_export() else _InnerProducts.apply(left, right)


def gram_matrix(tokens: Tensor) -> Tensor:
    """Multiply tokens (B, N, C) with themselves: xᵀx, (B, C, C)."""
    return tokens.mT @ tokens if torch.onnx.is_in_onnx_export() else _Gram.apply(tokens)


class _InnerProducts(torch.autograd.Function):
    """leftᵀ right; its gradients are right gᵀ and left g."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return left.mT @ right

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors
        return right @ gradient.mT.to(right.dtype), left @ gradient.to(left.dtype)


class _Gram(torch.autograd.Function):
    """xᵀx; its gradient is x (g + gᵀ), one product over the tokens where autograd would compute two."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        return tokens.mT @ tokens

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (tokens,) = ctx.saved_tensors
        return tokens @ (gradient + gradient.mT).to(tokens.dtype)
