"""Networks as other people write them: the tests take them as `other_networks:Class` of a user."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """Double convolutions with two kinds of norms, skips that are joined, transposed convolutions."""

    def __init__(self, in_channels: int, classes: int, image_size: int, width: int = 16) -> None:
        super().__init__()
        self.down0, self.down1 = _double(in_channels, width), _double(width, 2 * width)
        self.bottom = _double(2 * width, 4 * width)
        self.up1, self.join1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), _double(4 * width, 2 * width)
        self.up0, self.join0 = nn.ConvTranspose2d(2 * width, width, 2, 2), _double(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.down0(image)
        coarse = self.down1(functional.max_pool2d(fine, 2))
        bottom = self.bottom(functional.max_pool2d(coarse, 2))
        coarse = self.join1(torch.cat([coarse, self.up1(bottom)], 1))
        logits: Tensor = self.head(self.join0(torch.cat([fine, self.up0(coarse)], 1)))
        return logits


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 3, padding=1), nn.InstanceNorm2d(outputs, affine=True), nn.LeakyReLU(0.1)),
        *(nn.Dropout(0.1), nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)),
    )


class Attention(nn.Module):
    """Multi-headed attention with one layer for queries, keys and values, whose forward computes with its widths."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.project = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*qkv)
        projected: Tensor = self.project(mixed.transpose(1, 2).reshape(batch, count, width))
        return projected


class PlainViT(nn.Module):
    """Patches, learned positions, two blocks, and a decoder of convolutions."""

    def __init__(self, in_channels: int, classes: int, image_size: int, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, 8, 8)
        self.positions = nn.Parameter(0.1 * torch.randn(1, (image_size // 8) ** 2, width))
        self.attentions = nn.ModuleList(Attention(width, heads) for _ in range(2))
        self.perceptrons = nn.ModuleList(_perceptron(width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.up = nn.Sequential(nn.ConvTranspose2d(width, 16, 2, 2), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Conv2d(16, classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.patches(image)
        tokens = features.flatten(2).transpose(1, 2) + self.positions
        for number, (attention, perceptron) in enumerate(zip(self.attentions, self.perceptrons, strict=True)):
            tokens = tokens + attention(self.norms[2 * number](tokens))
            tokens = tokens + perceptron(self.norms[2 * number + 1](tokens))
        features = tokens.transpose(1, 2).reshape(features.shape)
        return functional.interpolate(self.head(self.up(features)), size=image.shape[-2:], mode="bilinear")


def _perceptron(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(4 * width, width))


class WindowBlock(nn.Module):
    """A Swin block: attention in windows, shifted or not, with a table of relative positions and a mask."""

    def __init__(self, width: int, heads: int, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = _perceptron(width)
        self.table = nn.Parameter(0.1 * torch.randn((2 * window - 1) ** 2, heads))
        grid = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = (grid[:, :, None] - grid[:, None] + window - 1).permute(1, 2, 0)
        self.register_buffer("relative", apart[..., 0] * (2 * window - 1) + apart[..., 1], persistent=False)
        region = torch.zeros(1, side, side, 1)
        if shift:
            for number, rows in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
                for other, columns in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
                    region[:, rows, columns] = 3 * number + other
        regions = self.windows(region).squeeze(-1)
        mask = torch.where(regions[:, None] == regions[:, :, None], 0.0, -100.0)
        self.register_buffer("mask", mask, persistent=False)

    def windows(self, image: Tensor) -> Tensor:
        batch, rows, columns, width = image.shape
        side = self.window
        cut = image.view(batch, rows // side, side, columns // side, side, width)
        return cut.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, side * side, width)

    def forward(self, image: Tensor) -> Tensor:
        batch, rows, columns, width = image.shape
        side = self.window
        turned = torch.roll(self.norm1(image), (-self.shift, -self.shift), (1, 2))
        tokens = self.windows(turned)
        count = side * side
        qkv = self.qkv(tokens).reshape(-1, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = qkv[0] * (width // self.heads) ** -0.5, qkv[1], qkv[2]
        scores = queries @ keys.transpose(-2, -1)
        scores = scores + self.table[self.relative.view(-1)].view(count, count, -1).permute(2, 0, 1)
        scores = scores.view(batch, -1, self.heads, count, count) + self.mask[:, None]
        scores = scores.view(-1, self.heads, count, count).softmax(-1)
        tokens = self.project((scores @ values).transpose(1, 2).reshape(-1, count, width))
        whole = tokens.view(batch, rows // side, columns // side, side, side, -1).permute(0, 1, 3, 2, 4, 5)
        image = image + torch.roll(whole.reshape(batch, rows, columns, -1), (self.shift, self.shift), (1, 2))
        return image + self.perceptron(self.norm2(image))


class SwinUNet(nn.Module):
    """Windows and shifts, patches merged and expanded by reshapes, one skip."""

    def __init__(self, in_channels: int, classes: int, image_size: int, width: int = 32) -> None:
        super().__init__()
        side = image_size // 4
        self.patches = nn.Conv2d(in_channels, width, 4, 4)
        self.down = nn.Sequential(*(WindowBlock(width, 4, side, 4, shift) for shift in (0, 2)))
        self.merge_norm, self.merge = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)
        self.bottom = nn.Sequential(*(WindowBlock(2 * width, 8, side // 2, 4, shift) for shift in (0, 2)))
        self.expand, self.join = nn.Linear(2 * width, 4 * width, bias=False), nn.Linear(2 * width, width)
        self.up = nn.Sequential(*(WindowBlock(width, 4, side, 4, shift) for shift in (0, 2)))
        self.last, self.last_norm = nn.Linear(width, 16 * width, bias=False), nn.LayerNorm(width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.down(self.patches(image).permute(0, 2, 3, 1))
        quarters = [fine[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        coarse = self.bottom(self.merge(self.merge_norm(torch.cat(quarters, -1))))
        joined = self.join(torch.cat([_expanded(self.expand(coarse), 2), fine], -1))
        features = self.last_norm(_expanded(self.last(self.up(joined)), 4))
        logits: Tensor = self.head(features.permute(0, 3, 1, 2))
        return logits


def _expanded(features: Tensor, factor: int) -> Tensor:
    """(B, rows, columns, factor * factor * C) -> (B, factor * rows, factor * columns, C)."""
    batch, rows, columns, width = features.shape
    cut = features.view(batch, rows, columns, factor, factor, width // factor**2).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(batch, factor * rows, factor * columns, width // factor**2)


class Mixed(nn.Module):
    """What else people write: depthwise and grouped convolutions, group norms, shuffles, a gate, one sort."""

    def __init__(self, in_channels: int, classes: int, image_size: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, 2, 1), nn.GroupNorm(4, width), nn.SiLU())
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.grouped = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=4)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * width, 8, 1), nn.ReLU())
        self.open = nn.Conv2d(8, 2 * width, 1)
        self.sorted = nn.Conv2d(2 * width, width, 1)
        self.shuffle = nn.Conv2d(width, 4 * width, 1)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.widen(self.depthwise(self.stem(image)))
        features = torch.channel_shuffle(self.grouped(features), 4) * torch.sigmoid(self.open(self.gate(features)))
        features = torch.sort(self.sorted(features), dim=1).values  # no rule for it: its channels stay
        logits: Tensor = self.head(functional.pixel_shuffle(self.shuffle(features), 2))
        return logits
