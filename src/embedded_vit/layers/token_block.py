"""A transformer block for feature maps of few pixels: every pixel is a token.

Shape legend: B batch, C channels, H x W pixels, N = H x W tokens, h heads of d = C / h channels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.layers.channel_axes import ChannelAxis, inside
from embedded_vit.layers.convolutions import NormedConvolution
from embedded_vit.layers.fused_block import FusedBlock

__all__ = ["TokenBlock"]


class TokenBlock(nn.Module):
    """Self-attention and a perceptron, each added to its input; batch norms that fold take the place of layer norms.

    Args:
        channels: C, a multiple of `HEADS`.
        hidden_ratio: Hidden width of the perceptron over C.

    Source: Graham et al., "LeViT", 2104.01136, without its attention bias: the convolutions before know where they are.
    """

    HEADS: ClassVar[int] = 4

    def __init__(self, channels: int, *, hidden_ratio: int = 2) -> None:
        super().__init__()
        self.head_width = channels // self.HEADS
        self.queries_keys_values = NormedConvolution(channels, 3 * channels, 1)
        self.projection = NormedConvolution(channels, channels, 1)
        self.expansion = NormedConvolution(channels, hidden_ratio * channels, 1)
        self.reduction = NormedConvolution(hidden_ratio * channels, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        image = self.projection(self._attention(image)) + image
        return self.reduction(functional.relu(self.expansion(image))) + image

    def _attention(self, image: Tensor) -> Tensor:
        """Let every token look at all tokens: (B, C, H, W) -> (B, C, H, W)."""
        batch, _, height, width = image.shape
        parts = self.queries_keys_values(image).flatten(2).chunk(3, dim=1)  # each (B, h d, N)
        queries, keys, values = (part.unflatten(1, (-1, self.head_width)) for part in parts)  # each (B, h, d, N)
        weights = (queries.transpose(2, 3) @ keys * self.head_width**-0.5).softmax(dim=-1)  # (B, h, N, N)
        attended = values @ weights.transpose(2, 3)  # (B, h, d, N)
        return attended.reshape(batch, -1, height, width)  # (B, h d, H, W)

    def macs(self, tokens: int) -> int:
        """Count the multiply-accumulates of N tokens."""
        layers = (self.queries_keys_values, self.projection, self.expansion, self.reduction)
        attended = self.projection.convolution.weight.shape[1]  # h d
        return sum(layer.macs(tokens) for layer in layers) + 2 * tokens**2 * attended

    def fused_blocks(self, side: int) -> list[FusedBlock]:
        """Return what the latency of its halves depends on, for a square of so many tokens a side."""
        channels, attended = self.projection.convolution.weight.shape[:2]
        hidden = self.expansion.convolution.weight.shape[0]
        return [
            FusedBlock("attention", (channels, attended), side, (1, self.head_width)),
            FusedBlock("perceptron", (channels, hidden), side, (1, 1)),
        ]

    def stream_axes(self) -> list[ChannelAxis]:
        """The channels to which both results are added; see `channel_axes`."""
        readers, writers = ("queries_keys_values", "expansion"), ("projection", "reduction")
        axes = [axis for name in writers for axis in inside(name, getattr(self, name).output_axes())]
        return axes + [axis for name in readers for axis in inside(name, getattr(self, name).input_axes())]

    def inner_axes(self) -> dict[str, list[ChannelAxis]]:
        """Whole heads, as the softmax weighs the channels of a head alike, and the perceptron's hidden channels."""
        whole_heads = [
            *(
                replace(axis, repeat=3, each=self.head_width)
                for axis in inside("queries_keys_values", self.queries_keys_values.output_axes())
            ),
            *(replace(axis, each=self.head_width) for axis in inside("projection", self.projection.input_axes())),
        ]
        hidden = [
            *inside("expansion", self.expansion.output_axes()),
            *inside("reduction", self.reduction.input_axes()),
        ]
        return {"": whole_heads, "expansion": hidden}
