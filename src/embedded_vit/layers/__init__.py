"""The layers of the networks, in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = [
    "ChannelAttention",
    "CrossAttention",
    "DualBlock",
    "EfficientAttention",
    "MixFeedForward",
    "PatchEmbedding",
    "PatchExpanding",
]

if TYPE_CHECKING:
    from embedded_vit.layers.channel_attention import ChannelAttention
    from embedded_vit.layers.cross_attention import CrossAttention
    from embedded_vit.layers.dual_block import DualBlock
    from embedded_vit.layers.efficient_attention import EfficientAttention
    from embedded_vit.layers.feed_forward import MixFeedForward
    from embedded_vit.layers.patches import PatchEmbedding, PatchExpanding
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "channel_attention": ["ChannelAttention"],
            "cross_attention": ["CrossAttention"],
            "dual_block": ["DualBlock"],
            "efficient_attention": ["EfficientAttention"],
            "feed_forward": ["MixFeedForward"],
            "patches": ["PatchEmbedding", "PatchExpanding"],
        },
    )
