"""UNeXt: convolutions on fine levels, MLPs over shifted tokens on the two coarsest; written from the paper.

Source: Valanarasu and Patel, "UNeXt: MLP-based Rapid Medical Image Segmentation Network", 2203.04967.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.errors import NetworkError

__all__ = ["UNeXt", "UNeXtS"]

SHIFTS = (-2, -1, 0, 1, 2)  # pixels; the channels are cut into as many parts


class UNeXt(nn.Module):
    """UNeXt of 16 to 256 channels; its two coarsest levels are made of tokens.

    The paper's text gives the finest levels 32 and 64 channels; the costs that it reports are those of 16 and 32.
    """

    channels: ClassVar[tuple[int, ...]] = (16, 32, 128, 160, 256)

    def __init__(self, *, in_channels: int, classes: int, image_size: int) -> None:
        if image_size % 32 or image_size < 32:
            raise NetworkError(f"UNeXt: image size {image_size}: expected a multiple of 32")
        super().__init__()
        first, second, third, fourth, fifth = self.channels
        self.encoder = nn.ModuleList(
            _normed_convolution(above, own) for above, own in ((in_channels, first), (first, second), (second, third))
        )
        self.token_encoder = nn.ModuleList([_TokenStage(third, fourth), _TokenStage(fourth, fifth)])
        below_and_own = ((fifth, fourth), (fourth, third), (third, second), (second, first))
        self.decoder = nn.ModuleList(_normed_convolution(below, own) for below, own in below_and_own)
        self.token_decoder = nn.ModuleList([_ShiftedBlock(fourth), _ShiftedBlock(third)])
        self.token_norms = nn.ModuleList([nn.LayerNorm(fourth), nn.LayerNorm(third)])
        self.last = nn.Conv2d(first, first, 3, padding=1)
        self.head = nn.Conv2d(first, classes, 1)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images: (B, C, S, S) -> logits (B, K, S, S)."""
        features, skips = image, []
        for convolution in self.encoder:
            features = functional.relu(functional.max_pool2d(convolution(features), 2))
            skips.append(features)  # at 1/2, 1/4, 1/8
        for stage in self.token_encoder:
            features = stage(features)
            skips.append(features)  # at 1/16, 1/32
        for level, convolution in enumerate(self.decoder):
            features = functional.relu(_doubled(convolution(features))) + skips[-2 - level]
            if level < len(self.token_decoder):
                features = _normed(self.token_norms[level], self.token_decoder[level](features))
        logits: Tensor = self.head(functional.relu(_doubled(self.last(features))))
        return logits


class UNeXtS(UNeXt):
    """The small one, of 8 to 128 channels."""

    channels = (8, 16, 32, 64, 128)


class _TokenStage(nn.Module):
    """Halves height and width by overlapping patches, and mixes the tokens."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
        self.embedding_norm = nn.LayerNorm(channels)
        self.block = _ShiftedBlock(channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Make and mix tokens: (B, in_channels, H, W) -> (B, C, H / 2, W / 2)."""
        return _normed(self.norm, self.block(_normed(self.embedding_norm, self.embedding(image))))


class _ShiftedBlock(nn.Module):
    """The tokenized MLP: shifted along the height and projected, a depthwise convolution, then along the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.first = nn.Linear(channels, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.second = nn.Linear(channels, channels)

    def forward(self, image: Tensor) -> Tensor:
        """Mix tokens: (B, C, H, W) -> the same shape."""
        features = _shifted(_normed(self.norm, image), axis=2)
        features = functional.gelu(self.depthwise(_normed(self.first, features)))
        return image + _normed(self.second, _shifted(features, axis=3))


def _shifted(image: Tensor, *, axis: int) -> Tensor:
    """Move each fifth of the channels by its number of pixels along an axis; zeros come in at the border."""
    reach, length = max(SHIFTS), image.shape[axis]
    beside = [0, 0, reach, reach] if axis == 2 else [reach, reach, 0, 0]  # padding begins with the last axis
    parts = functional.pad(image, beside).chunk(len(SHIFTS), dim=1)
    return torch.cat(
        [part.narrow(axis, reach - shift, length) for part, shift in zip(parts, SHIFTS, strict=True)], dim=1
    )


def _normed(of_tokens: nn.Module, image: Tensor) -> Tensor:
    """Apply what works on the last axis to the channels of (B, C, H, W)."""
    tokens: Tensor = of_tokens(image.permute(0, 2, 3, 1))  # (B, H, W, C)
    return tokens.permute(0, 3, 1, 2)


def _normed_convolution(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.BatchNorm2d(channels))


def _doubled(image: Tensor) -> Tensor:
    return functional.interpolate(image, scale_factor=2.0, mode="bilinear", align_corners=False)


def _initialise(module: nn.Module) -> None:
    """Give linear layers small values, as vision transformers have; convolutions keep PyTorch's."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
