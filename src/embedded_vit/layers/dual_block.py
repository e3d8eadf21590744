"""The dual attention block, of which encoder and decoder are made."""

from __future__ import annotations

from torch import Tensor, nn

from embedded_vit.layers.channel_attention import ChannelAttention
from embedded_vit.layers.channel_axes import ChannelAxis, inside, written
from embedded_vit.layers.efficient_attention import EfficientAttention
from embedded_vit.layers.feed_forward import MixFeedForward, Mixing

__all__ = ["DualBlock"]


class DualBlock(nn.Module):
    """Efficient attention, mixing, channel attention, mixing: four residuals, each behind its own LayerNorm.

    Args:
        channels: C.
        hidden: Hidden width of both feed-forward layers.
        mixing: As `MixFeedForward`.

    Source: DAE-Former, 2212.13504, section 2.2.
    """

    def __init__(self, channels: int, hidden: int, mixing: Mixing = "depthwise") -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = EfficientAttention(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.feed_forward1 = MixFeedForward(channels, hidden, mixing)
        self.norm3 = nn.LayerNorm(channels)
        self.channel_attention = ChannelAttention(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.feed_forward2 = MixFeedForward(channels, hidden, mixing)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Compute all four residuals: (B, N, C) and (H, W) with H x W = N -> (B, N, C)."""
        tokens = tokens + self.attention(self.norm1(tokens))
        tokens = tokens + self.feed_forward1(self.norm2(tokens), size)
        tokens = tokens + self.channel_attention(self.norm3(tokens))
        return tokens + self.feed_forward2(self.norm4(tokens), size)

    def macs(self, tokens: int, *, published: bool = False) -> int:
        """Count the multiply-accumulates of N tokens, in the form that runs or in the published one."""
        layers = (self.attention, self.feed_forward1, self.channel_attention, self.feed_forward2)
        return sum(layer.macs(tokens, published=published) for layer in layers)

    def stream_axes(self) -> list[ChannelAxis]:
        """Declare the channels to which all four residuals are added; see `channel_axes`."""
        axes = [axis for number in (1, 2, 3, 4) for axis in written(f"norm{number}")]
        for name in ("attention", "channel_attention", "feed_forward1", "feed_forward2"):
            layer = getattr(self, name)
            axes += inside(name, [*layer.input_axes(), *layer.output_axes()])
        return axes
