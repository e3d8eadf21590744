"""An EMCAD decoder on a small pyramid vision transformer, both from scratch and written from the papers.

Sources: Rahman et al., "EMCAD: Efficient Multi-scale Convolutional Attention Decoding for Medical Image Segmentation",
2405.06880; Wang et al., "PVT v2: Improved Baselines with Pyramid Vision Transformer", 2106.13797. Nothing is
pretrained, and the last of the decoder's four heads alone is trained, by the same loss as every network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.errors import NetworkError

__all__ = ["EMCAD", "EMCADDecoder"]

WIDTHS, HEADS, HIDDEN_RATIOS, REDUCTIONS = (32, 64, 160, 256), (1, 2, 5, 8), (8, 8, 4, 4), (8, 4, 2, 1)  # PVT v2 B0
DEPTH = 2  # blocks in every stage
KERNEL_SIZES = (1, 3, 5)  # of the decoder's parallel depthwise convolutions
EXPANSION, SQUEEZE = 2, 16


class EMCAD(nn.Module):
    """PVT v2 B0 with an EMCAD decoder; its logits, at a quarter of the size, are enlarged to the image's."""

    def __init__(self, *, in_channels: int, classes: int, image_size: int) -> None:
        if image_size % 32 or image_size < 32:
            raise NetworkError(f"EMCAD: image size {image_size}: expected a multiple of 32")
        super().__init__()
        self.encoder = nn.ModuleList(
            _Stage(above, width, heads, ratio, reduction, first=number == 0)
            for number, (above, width, heads, ratio, reduction) in enumerate(
                zip((in_channels, *WIDTHS[:-1]), WIDTHS, HEADS, HIDDEN_RATIOS, REDUCTIONS, strict=True)
            )
        )
        self.decoder = EMCADDecoder(WIDTHS, classes)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Segment images: (B, C, S, S) -> logits (B, K, S, S)."""
        features, pyramid = image, []
        for stage in self.encoder:
            features = stage(features)
            pyramid.append(features)  # at 1/4, 1/8, 1/16, 1/32
        return functional.interpolate(self.decoder(pyramid), scale_factor=4.0, mode="bilinear", align_corners=False)


class EMCADDecoder(nn.Module):
    """The decoder, on any encoder of four stages.

    Args:
        widths: Channels of the stages, finest first.
        classes: K.
    """

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        coarse_to_fine = widths[::-1]
        self.refinement = nn.ModuleList(map(_AttentiveMultiScale, coarse_to_fine))
        self.up = nn.ModuleList(map(_UpConvolution, coarse_to_fine, coarse_to_fine[1:]))
        self.gates = nn.ModuleList(map(_Gate, coarse_to_fine[1:]))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Decode features, each half as large as the one before: the first (B, C, H, W) -> logits (B, K, H, W)."""
        features = self.refinement[0](pyramid[-1])
        for up, gate, refinement, skip in zip(self.up, self.gates, self.refinement[1:], pyramid[-2::-1], strict=True):
            features = up(features)
            features = refinement(features + gate(features, skip))
        logits: Tensor = self.head(features)
        return logits


class _Stage(nn.Module):
    """One stage of the pyramid: overlapping patches, then transformer blocks."""

    def __init__(
        self, in_channels: int, width: int, heads: int, hidden_ratio: int, reduction: int, *, first: bool
    ) -> None:
        super().__init__()
        kernel_size, stride = (7, 4) if first else (3, 2)
        self.embedding = nn.Conv2d(in_channels, width, kernel_size, stride, padding=kernel_size // 2)
        self.embedding_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(_Block(width, heads, hidden_ratio * width, reduction) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> Tensor:
        """Make and mix tokens: (B, in_channels, stride * H, stride * W) -> (B, width, H, W)."""
        patches = self.embedding(image)
        height, width = patches.shape[2:]
        tokens = self.embedding_norm(_tokens(patches))
        for block in self.blocks:
            tokens = block(tokens, height, width)
        return _image(self.norm(tokens), height, width)


class _Block(nn.Module):
    """Attention to a reduced map, then a feed-forward layer with a depthwise convolution; both pre-norm."""

    def __init__(self, width: int, heads: int, hidden: int, reduction: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = _ReducedAttention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Mix tokens: (B, H W, C) -> the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens), height, width)
        hidden = _image(self.fc1(self.norm2(tokens)), height, width)
        mixed: Tensor = self.fc2(functional.gelu(_tokens(self.depthwise(hidden))))
        return tokens + mixed


class _ReducedAttention(nn.Module):
    """Multi-head attention whose keys and values come from a map that a strided convolution made smaller."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.projection = nn.Linear(width, width)
        self.reduction: nn.Conv2d | None = None
        if reduction > 1:
            self.reduction = nn.Conv2d(width, width, reduction, stride=reduction)
            self.reduction_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Mix tokens: (B, H W, C) -> the same shape."""
        batch, count, channels = tokens.shape
        seen = tokens
        if self.reduction is not None:
            kernel = self.reduction.kernel_size[0]
            image = _image(tokens, height, width)
            # At 64 and 32 pixels the map may be smaller than a kernel: zeros fill it up.
            image = functional.pad(image, (0, -width % kernel, 0, -height % kernel))
            seen = self.reduction_norm(_tokens(self.reduction(image)))
        shape = (batch, -1, self.heads, channels // self.heads)
        queries = self.queries(tokens).reshape(shape).transpose(1, 2)  # (B, heads, H W, C / heads)
        keys, values = (part.reshape(shape).transpose(1, 2) for part in self.keys_values(seen).chunk(2, dim=-1))
        weights = (queries @ keys.transpose(2, 3) * shape[-1] ** -0.5).softmax(dim=-1)
        attended: Tensor = self.projection((weights @ values).transpose(1, 2).reshape(batch, count, channels))
        return attended


class _AttentiveMultiScale(nn.Module):
    """The decoder's refinement (MSCAM): channel attention, spatial attention, then convolutions of three sizes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed, hidden = max(1, channels // SQUEEZE), EXPANSION * channels
        self.channel_attention = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1, bias=False), nn.ReLU(), nn.Conv2d(squeezed, channels, 1, bias=False)
        )
        self.spatial_attention = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.widening = nn.Sequential(_normed(channels, hidden, 1), nn.ReLU6())
        self.scales = nn.ModuleList(
            nn.Sequential(_normed(hidden, hidden, size, groups=hidden), nn.ReLU6()) for size in KERNEL_SIZES
        )
        self.shuffle = nn.ChannelShuffle(channels)
        self.narrowing = _normed(hidden, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Refine features: (B, C, H, W) -> the same shape."""
        pooled = (image.mean((2, 3), keepdim=True), image.amax((2, 3), keepdim=True))  # (B, C, 1, 1)
        image = image * torch.sigmoid(self.channel_attention(pooled[0]) + self.channel_attention(pooled[1]))
        pooled = (image.mean(1, keepdim=True), image.amax(1, keepdim=True))  # (B, 1, H, W)
        image = image * torch.sigmoid(self.spatial_attention(torch.cat(pooled, dim=1)))
        hidden = self.widening(image)
        several = sum(scale(hidden) for scale in self.scales)
        refined: Tensor = image + self.narrowing(self.shuffle(several))
        return refined


class _UpConvolution(nn.Sequential):
    """Doubles height and width (EUCB): nearest neighbours, a depthwise convolution, then a 1 x 1 convolution."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2.0),
            _normed(in_channels, in_channels, 3, groups=in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, channels, 1),
        )


class _Gate(nn.Module):
    """Lets a skip through where it and the features from below agree (LGAG), by grouped 3 x 3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.of_features = _normed(channels, hidden, 3, groups=hidden)
        self.of_skip = _normed(channels, hidden, 3, groups=hidden)
        self.gate = _normed(hidden, 1, 1)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Weight the skip: two maps (B, C, H, W) -> (B, C, H, W)."""
        joined = functional.relu(self.of_features(features) + self.of_skip(skip))
        return skip * torch.sigmoid(self.gate(joined))


def _normed(in_channels: int, channels: int, kernel_size: int, *, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))


def _tokens(image: Tensor) -> Tensor:
    """Flatten an image: (B, C, H, W) -> (B, H W, C)."""
    return image.flatten(2).transpose(1, 2)


def _image(tokens: Tensor, height: int, width: int) -> Tensor:
    """Unflatten tokens: (B, H W, C) -> (B, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))


def _initialise(module: nn.Module) -> None:
    """Give linear layers small values, and convolutions values by what they write, as PVT v2 begins."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        written = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2 / written) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
