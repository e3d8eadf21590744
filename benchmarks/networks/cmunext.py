"""CMUNeXt: a U-Net of large depthwise kernels with inverted bottlenecks, and skips fused in groups; from the paper.

Source: Tang et al., "CMUNeXt: An Efficient Medical Image Segmentation Network based on Large Kernel and Skip Fusion",
2308.01239.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.errors import NetworkError

__all__ = ["CMUNeXt", "CMUNeXtS"]

EXPANSION = 4  # of the inverted bottlenecks


class CMUNeXt(nn.Module):
    """CMUNeXt of 16 to 256 channels."""

    channels: ClassVar[tuple[int, ...]] = (16, 32, 128, 160, 256)
    depths: ClassVar[tuple[int, ...]] = (1, 1, 1, 3, 1)
    kernel_sizes: ClassVar[tuple[int, ...]] = (3, 3, 7, 7, 7)

    def __init__(self, *, in_channels: int, classes: int, image_size: int) -> None:
        if image_size % 16 or image_size < 16:
            raise NetworkError(f"CMUNeXt: image size {image_size}: expected a multiple of 16")
        super().__init__()
        above = (self.channels[0], *self.channels[:-1])
        self.stem = _convolution(in_channels, self.channels[0])
        self.encoder = nn.ModuleList(
            nn.Sequential(*(_Block(width, kernel_size) for _ in range(depth)), _convolution(width, channels))
            for width, channels, depth, kernel_size in zip(
                above, self.channels, self.depths, self.kernel_sizes, strict=True
            )
        )
        coarse_to_fine = self.channels[::-1]
        self.up = nn.ModuleList(map(_convolution, coarse_to_fine, coarse_to_fine[1:]))
        self.fusion = nn.ModuleList(map(_Fusion, coarse_to_fine[1:]))
        self.head = nn.Conv2d(self.channels[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images: (B, C, S, S) -> logits (B, K, S, S)."""
        features: Tensor = self.stem(image)
        skips: list[Tensor] = []
        for stage in self.encoder:
            features = stage(functional.max_pool2d(features, 2) if skips else features)
            skips.append(features)
        for convolution, fusion, skip in zip(self.up, self.fusion, skips[-2::-1], strict=True):
            enlarged = functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
            features = fusion(torch.cat([skip, convolution(enlarged)], dim=1))
        logits: Tensor = self.head(features)
        return logits


class CMUNeXtS(CMUNeXt):
    """The small one, of 8 to 128 channels."""

    channels = (8, 16, 32, 64, 128)
    depths = (1, 1, 1, 1, 1)
    kernel_sizes = (3, 3, 7, 7, 9)


class _Block(nn.Module):
    """A large depthwise convolution beside its input, then an inverted bottleneck of 1 x 1 convolutions."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        depthwise = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.depthwise = _activated(depthwise)
        self.bottleneck = _bottleneck(channels, channels)

    def forward(self, image: Tensor) -> Tensor:
        """Mix pixels and channels: (B, C, H, W) -> the same shape."""
        mixed: Tensor = self.bottleneck(image + self.depthwise(image))
        return mixed


class _Fusion(nn.Sequential):
    """Convolves a skip and what comes from below, each by itself, then mixes them: (B, 2 C, H, W) -> (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        of_each = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2)
        super().__init__(_activated(of_each), _bottleneck(2 * channels, channels))


def _bottleneck(in_channels: int, channels: int) -> nn.Sequential:
    hidden = EXPANSION * channels
    return nn.Sequential(
        _activated(nn.Conv2d(in_channels, hidden, 1)), _activated(nn.Conv2d(hidden, channels, 1))
    )  # fmt: skip


def _activated(convolution: nn.Conv2d) -> nn.Sequential:
    """GELU, then batch norm: in this order, as the paper has it."""
    return nn.Sequential(convolution, nn.GELU(), nn.BatchNorm2d(convolution.out_channels))


def _convolution(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
