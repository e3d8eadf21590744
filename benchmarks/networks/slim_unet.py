"""Plain slim U-Nets, the yardstick of every comparison by latency; `unet-8` to `unet-32` of benchmarks/peers.py.

A U-Net of width w has two 3 x 3 convolutions with batch norm and ReLU on each of five levels of w, 2w, 4w, 8w and 8w
channels, max pooling on the way down, and 2 x 2 transposed convolutions and joined skips on the way up.

Source: Ronneberger et al., "U-Net", 1505.04597; batch norms and the narrow last level are ours.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.errors import NetworkError
from embedded_vit.layers.convolutions import ConvolutionStage, UpsamplingStage

__all__ = ["SlimUNet", "UNet8", "UNet12", "UNet16", "UNet24", "UNet32"]

LEVELS = (1, 2, 4, 8, 8)  # channels, in widths


class SlimUNet(nn.Module):
    """A U-Net of 16 channels at full resolution; subclasses have other widths."""

    width: ClassVar[int] = 16

    def __init__(self, *, in_channels: int, classes: int, image_size: int) -> None:
        if image_size % 16 or image_size < 16:
            raise NetworkError(f"slim U-Net: image size {image_size}: expected a multiple of 16")
        super().__init__()
        channels = [self.width * level for level in LEVELS]
        self.down = nn.ModuleList(
            ConvolutionStage(above, own) for above, own in zip([in_channels, *channels[:-1]], channels, strict=True)
        )
        self.up = nn.ModuleList(
            UpsamplingStage(below, own) for below, own in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(channels[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images: (B, C, S, S) -> logits (B, K, S, S)."""
        features = image
        skips: list[Tensor] = []
        for stage in self.down:
            features = stage(functional.max_pool2d(features, 2) if skips else features)
            skips.append(features)
        for stage, skip in zip(self.up, skips[-2::-1], strict=True):
            features = stage(features, skip)
        logits: Tensor = self.head(features)
        return logits


class UNet8(SlimUNet):
    """8 to 64 channels."""

    width = 8


class UNet12(SlimUNet):
    """12 to 96 channels."""

    width = 12


class UNet16(SlimUNet):
    """16 to 128 channels."""


class UNet24(SlimUNet):
    """24 to 192 channels."""

    width = 24


class UNet32(SlimUNet):
    """32 to 256 channels."""

    width = 32
