"""Inner products over tokens: their gradients are those of the plain products, and lie in memory as tokens do."""

from __future__ import annotations

import torch

from embedded_vit.layers.inner_products import gram_matrix, inner_products


def test_gradients_agree_with_differences():
    left = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    right = torch.randn(2, 7, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gram_matrix, left)
    assert torch.autograd.gradcheck(inner_products, (left, right))


def test_gradients_are_tokens_in_memory():
    left, right = torch.randn(2, 7, 3, requires_grad=True), torch.randn(2, 7, 4, requires_grad=True)
    gradients = torch.autograd.grad(inner_products(left, right).sum(), (left, right))
    assert all(gradient.is_contiguous() for gradient in gradients)
