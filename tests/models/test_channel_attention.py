"""Channel attention from a Gram matrix: the same values and gradients as from queries and keys."""

from __future__ import annotations

import torch

from embedded_vit.layers.channel_attention import ChannelAttention


def test_both_ways_to_attend_have_one_value_and_one_gradient():
    torch.manual_seed(0)
    layer = ChannelAttention(16)
    tokens = torch.randn(2, 64, 16, requires_grad=True)
    towards = torch.randn(2, 64, 16)
    inputs = [tokens, *layer.parameters()]
    found, expected = layer._by_covariance(tokens), layer._by_tokens(tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, towards), torch.autograd.grad(expected, inputs, towards), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
