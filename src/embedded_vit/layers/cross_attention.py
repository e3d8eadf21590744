"""Cross attention in the decoder: skip features are the queries, upsampled features the values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embedded_vit.layers.channel_axes import ChannelAxis, inside, read, repeated, written
from embedded_vit.layers.efficient_attention import context_pays, gather
from embedded_vit.layers.feed_forward import MixFeedForward, Mixing
from embedded_vit.layers.inner_products import inner_products

__all__ = ["CrossAttention"]


class CrossAttention(nn.Module):
    """Efficient attention without projections between two feature maps, then a mix feed-forward layer.

    Both inputs go through the same LayerNorm; keys and queries are the skip features, values the upsampled ones. The
    reprojection to 2 C is applied to the C x C context, as in `EfficientAttention`, where that is cheaper.

    Args:
        channels: C of either input.
        hidden: Hidden width of the feed-forward layer.
        mixing: As `MixFeedForward`.

    Source: DAE-Former, 2212.13504, section 2.3.
    """

    def __init__(self, channels: int, hidden: int, mixing: Mixing = "depthwise") -> None:
        super().__init__()
        self.norm_inputs = nn.LayerNorm(channels)
        self.reprojection = nn.Linear(channels, 2 * channels)
        self.norm_attended = nn.LayerNorm(2 * channels)
        self.norm = nn.LayerNorm(2 * channels)
        self.feed_forward = MixFeedForward(2 * channels, hidden, mixing)

    def forward(self, upsampled: Tensor, skip: Tensor, size: tuple[int, int]) -> Tensor:
        """Join two feature maps.

        Args:
            upsampled: (B, N, C).
            skip: (B, N, C).
            size: (H, W) with H x W = N.

        Returns:
            (B, N, 2 C).
        """
        values, source = self.norm_inputs(upsampled), self.norm_inputs(skip)
        context = inner_products(source.softmax(dim=1), values)  # (B, C, C), keys normalised over tokens
        queries = source.softmax(dim=2)  # (B, N, C), over channels
        if context_pays(skip.shape[1], skip.shape[2]):
            attended = gather(queries, self.reprojection(context))  # (B, N, 2 C)
        else:
            attended = self.reprojection(gather(queries, context))
        joined = torch.cat([upsampled, skip], dim=2) + self.norm_attended(attended)  # (B, N, 2 C)
        return joined + self.feed_forward(self.norm(joined), size)

    def macs(self, tokens: int, *, published: bool = False) -> int:
        """Count the multiply-accumulates of N tokens, in the form that runs or in the published one."""
        channels = self.reprojection.weight.shape[1]
        mixing = self.feed_forward.macs(tokens, published=published)
        if context_pays(tokens, channels) and not published:
            return mixing + 3 * tokens * channels**2 + 2 * channels**3
        return mixing + 4 * tokens * channels**2

    def joined_axes(self) -> list[ChannelAxis]:
        """Declare the channels of both inputs, which are added, and joined in the output; see `channel_axes`."""
        side_by_side = [
            *written("reprojection"),
            *written("norm_attended"),
            *written("norm"),
            *inside("feed_forward", self.feed_forward.input_axes()),
            *inside("feed_forward", self.feed_forward.output_axes()),
        ]
        return [
            ChannelAxis("norm_inputs.weight", 0, role="read"),  # only products read its output, no weights
            ChannelAxis("norm_inputs.bias", 0, role="read"),
            *read("reprojection"),
            *repeated(side_by_side, 2),
        ]
