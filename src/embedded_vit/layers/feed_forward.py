"""The mix feed-forward layer: a perceptron with a convolution over its hidden features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from embedded_vit.layers.channel_axes import ChannelAxis, read, written
from embedded_vit.layers.patches import image_to_tokens, tokens_to_image

__all__ = ["MixFeedForward", "Mixing"]

Mixing = Literal["depthwise", "dense"]


class MixFeedForward(nn.Module):
    """fc1, LayerNorm(conv3x3 + skip), GELU, fc2.

    fc1 is computed once, and its skip is one more weight at the centre of the convolution's kernel; the published form
    computes fc1 twice.

    Args:
        channels: C of input and output.
        hidden: Width between fc1 and fc2.
        mixing: "depthwise" (the paper's grouping) or "dense" convolution.

    Source: Huang et al., "MISSFormer", 2109.07162 (enhanced Mix-FFN); DAE-Former, 2212.13504.
    """

    def __init__(self, channels: int, hidden: int, mixing: Mixing = "depthwise") -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.convolution = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden if mixing == "depthwise" else 1)
        self.norm = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, channels)
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(1, 1, 3, 3), persistent=False)
        self.centre[..., 1, 1] = 1

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Mix tokens with their neighbours.

        Args:
            tokens: (B, N, C).
            size: (H, W) with H x W = N.

        Returns:
            (B, N, C).
        """
        hidden = tokens_to_image(self.fc1(tokens), size)  # (B, hidden, H, W)
        convolution = self.convolution
        if convolution.groups == 1:  # a sum is cheaper than a copy of the dense kernel
            mixed = convolution(hidden) + hidden
        else:
            kernel = convolution.weight + self.centre
            mixed = convolution._conv_forward(hidden, kernel, convolution.bias)  # fine-tuning for int8 replaces it
        return self.fc2(nn.functional.gelu(self.norm(image_to_tokens(mixed))))

    def macs(self, tokens: int, *, published: bool = False) -> int:
        """Count the multiply-accumulates of N tokens, in the form that runs or in the published one."""
        fc1 = self.fc1.weight.numel() * (2 if published else 1)
        return tokens * (fc1 + self.convolution.weight.numel() + self.fc2.weight.numel())

    def input_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return read("fc1")

    def output_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return written("fc2")

    def inner_axes(self) -> dict[str, list[ChannelAxis]]:
        """Declare the hidden channels; see `channel_axes`."""
        dense = self.convolution.groups == 1
        convolution = [*written("convolution"), *(read("convolution") if dense else [])]
        return {"": [*written("fc1"), *convolution, *written("norm"), *read("fc2")]}
