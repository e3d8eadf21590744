"""Cross attention in the decoder: skip features ask, upsampled features answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embedded_vit.layers.efficient_attention import gather
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
        if skip.shape[1] > skip.shape[2]:
            attended = gather(queries, self.reprojection(context))  # (B, N, 2 C)
        else:
            attended = self.reprojection(gather(queries, context))
        joined = torch.cat([upsampled, skip], dim=2) + self.norm_attended(attended)  # (B, N, 2 C)
        return joined + self.feed_forward(self.norm(joined), size)
