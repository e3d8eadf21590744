"""Efficient attention: linear in the number of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embedded_vit.layers.channel_axes import ChannelAxis, read, written
from embedded_vit.layers.inner_products import inner_products

__all__ = ["EfficientAttention", "context_pays", "gather"]


class EfficientAttention(nn.Module):
    """Attention through a C x C context instead of an N x N map, one head.

    Keys are normalised over tokens and queries over channels, so both sum to one. A linear layer with its bias may
    therefore be applied to the small context instead of to every token. The layer does so where it is cheaper, with
    more tokens than channels: 4 N C² multiplications in place of 6.

    Args:
        channels: C of keys, queries, values and output.

    Source: Shen et al., "Efficient Attention", 1812.01243, equation 4; DAE-Former, 2212.13504.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.keys = nn.Linear(channels, channels)
        self.queries = nn.Linear(channels, channels)
        self.values = nn.Linear(channels, channels)
        self.reprojection = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply the attention: (B, N, C) -> (B, N, C)."""
        keys = self.keys(tokens).softmax(dim=1)  # (B, N, C), each channel sums to one over the tokens
        queries = self.queries(tokens).softmax(dim=2)  # (B, N, C), each token sums to one over the channels
        if context_pays(tokens.shape[1], tokens.shape[2]):
            context = self.values(inner_products(keys, tokens))  # (B, C, C)
            return gather(queries, self.reprojection(context))
        context = inner_products(keys, self.values(tokens))  # (B, C, C)
        return self.reprojection(gather(queries, context))

    def macs(self, tokens: int, *, published: bool = False) -> int:
        """Count the multiply-accumulates of N tokens, in the form that runs or in the published one."""
        keys, channels = self.keys.weight.shape
        values = self.values.weight.shape[0]
        keys_and_queries = 2 * tokens * channels * keys
        if context_pays(tokens, channels) and not published:
            return keys_and_queries + 2 * tokens * keys * channels + 2 * keys * channels * values
        return keys_and_queries + 2 * tokens * channels * values + 2 * tokens * keys * values

    def input_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return [*read("keys"), *read("queries"), *read("values")]

    def output_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return written("reprojection")

    def inner_axes(self) -> dict[str, list[ChannelAxis]]:
        """Declare keys with their queries, and values; see `channel_axes`."""
        gate = ChannelAxis("queries.bias", 0, role="gate")
        return {
            "keys": [*written("keys"), *written("queries", bias=False), gate],
            "values": [*written("values"), *read("reprojection")],
        }


def context_pays(tokens: int, channels: int) -> bool:
    """Return whether a linear layer costs less when applied to the C x C context than to every token."""
    return tokens > channels


def gather(queries: Tensor, context: Tensor) -> Tensor:
    """Compute `queries @ context`; in a graph to export, as the transpose of a product.

    The plain form crashes the compiler of OpenVINO 2026.4. The transposed form leaves its result and its gradient
    channels-first in memory, which slows down everything after them in training.

    Args:
        queries: (B, N, C).
        context: (B, C, D).

    Returns:
        (B, N, D).
    """
    if torch.onnx.is_in_onnx_export():
        return (context.mT @ queries.mT).mT
    return queries @ context
