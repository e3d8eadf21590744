"""Inner products of channels over all tokens, with gradients that lie in memory as tokens do.

Autograd would leave the gradient of `xᵀ` channels-first, and whoever takes it then copies it into order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["gram_matrix", "inner_products"]


def inner_products(left: Tensor, right: Tensor) -> Tensor:
    """Tokens (B, N, C) and (B, N, D) -> leftᵀ right, (B, C, D)."""
    return left.mT @ right if torch.onnx.is_in_onnx_export() else _InnerProducts.apply(left, right)


def gram_matrix(tokens: Tensor) -> Tensor:
    """Tokens (B, N, C) -> their inner products with each other (B, C, C)."""
    return tokens.mT @ tokens if torch.onnx.is_in_onnx_export() else _Gram.apply(tokens)


class _InnerProducts(torch.autograd.Function):
    """The gradients of leftᵀ right are right gᵀ and left g."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return left.mT @ right

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors
        return right @ gradient.mT.to(right.dtype), left @ gradient.to(left.dtype)


class _Gram(torch.autograd.Function):
    """The gradient of xᵀx is x (g + gᵀ): one product over the tokens, where that of a product of two takes two."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        return tokens.mT @ tokens

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (tokens,) = ctx.saved_tensors
        return tokens @ (gradient + gradient.mT).to(tokens.dtype)
