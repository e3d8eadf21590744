"""Two convolutions and a sum: the block of feature maps that are too fine for tokens.

Shape legend: B batch, C channels, H x W pixels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.layers.channel_axes import ChannelAxis, inside
from embedded_vit.layers.convolutions import NormedConvolution
from embedded_vit.layers.fused_block import FusedBlock

__all__ = ["ResidualPair"]


class ResidualPair(nn.Module):
    """Two 3 x 3 convolutions whose result is added to their input: ReLU(x + norm(conv(ReLU(norm(conv x))))).

    Engines compute the second convolution, the sum and the ReLU in one pass.

    Args:
        channels: C of input and output.

    Source: He et al., "Deep Residual Learning", 1512.03385.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = NormedConvolution(channels, channels, 3)
        self.second = NormedConvolution(channels, channels, 3)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return functional.relu(self.second(functional.relu(self.first(image))) + image)

    def macs(self, pixels: int) -> int:
        """Count the multiply-accumulates of so many pixels."""
        return self.first.macs(pixels) + self.second.macs(pixels)

    def fused_block(self, side: int) -> FusedBlock:
        """Return what its latency depends on, for an input of so many pixels a side."""
        outer, inner = self.first.convolution.weight.shape[1], self.first.convolution.weight.shape[0]
        return FusedBlock("pair", (outer, inner), side, (1, 1))

    def stream_axes(self) -> list[ChannelAxis]:
        """The channels of input and output, which are added; see `channel_axes`."""
        return [*inside("first", self.first.input_axes()), *inside("second", self.second.output_axes())]

    def inner_axes(self) -> dict[str, list[ChannelAxis]]:
        """The channels between its two convolutions; see `channel_axes`."""
        return {"first": [*inside("first", self.first.output_axes()), *inside("second", self.second.input_axes())]}
