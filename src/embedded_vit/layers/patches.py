"""Patch embedding and patch expanding: the changes of resolution.

Shape legend of every layer: B batch, N = H x W tokens, C channels, S input size, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from embedded_vit.layers.channel_axes import ChannelAxis, read, repeated, written
from embedded_vit.layers.convolutions import convolution_macs, convolved

__all__ = ["PatchEmbedding", "PatchExpanding", "image_to_tokens", "tokens_to_image"]


def image_to_tokens(image: Tensor) -> Tensor:
    """Turn an image into tokens: (B, C, H, W) -> (B, N, C); a view when the image is channels-last in memory."""
    return image.flatten(2).mT


def tokens_to_image(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Turn tokens into an image: (B, N, C) -> (B, C, H, W), a view that is channels-last in memory."""
    return tokens.mT.unflatten(2, size)


class PatchEmbedding(nn.Module):
    """Overlapping patches by a strided convolution, then LayerNorm.

    Args:
        in_channels: Channels of the image or of the stage before.
        out_channels: C of the tokens.
        kernel_size: Side of the patches; they overlap by kernel_size - stride.
        stride: Step between patches.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed an image.

        Args:
            image: (B, in_channels or 1, stride * H, stride * W).

        Returns:
            Tokens (B, N, C) and their size (H, W).
        """
        patches = convolved(self.projection, image)
        return self.norm(image_to_tokens(patches)), (patches.shape[2], patches.shape[3])

    def macs(self, tokens: int, *, grey: bool = False) -> int:
        """Count the multiply-accumulates of N tokens; `grey` as in `convolution_macs`."""
        return convolution_macs(self.projection, tokens, grey=grey)

    def input_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return read("projection")

    def output_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return [*written("projection"), *written("norm")]


class PatchExpanding(nn.Module):
    """A linear layer whose channels, read as (row, column, channel), become `scale` times the height and width.

    Args:
        in_channels: C of the tokens.
        out_channels: Channels after expanding; normalised by LayerNorm.
        scale: Factor in height and in width.

    Source: Swin-Unet, 2105.05537, section 3.4.
    """

    def __init__(self, in_channels: int, out_channels: int, *, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.expand = nn.Linear(in_channels, scale * scale * out_channels, bias=False)
        self.norm = nn.LayerNorm(out_channels)

    def forward(
        self, tokens: Tensor, size: tuple[int, int], head: nn.Linear | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        """Expand tokens.

        Args:
            tokens: (B, N, C).
            size: (H, W) with H x W = N.
            head: A layer for every expanded token, out_channels -> D. It is applied before the tokens change places,
                because its D channels are fewer to move.

        Returns:
            Tokens (B, scale² N, out_channels or D) and their size (scale H, scale W).
        """
        scale, (height, width) = self.scale, size
        batch = tokens.shape[0]
        expanded = self.expand(tokens)  # (B, N, row * column * channel)
        tokens = self.norm(expanded.unflatten(2, (scale * scale, -1)))  # (B, N, row * column, channel)
        if head is not None:
            tokens = head(tokens)
        # Rows of a patch change places with the patches of a row. Some engines take at most four dimensions.
        rows = tokens.reshape(batch * height, width, scale, -1)  # (B H, W, row, column * channel)
        rows = rows.transpose(1, 2)  # (B H, row, W, column * channel)
        tokens = rows.reshape(batch, scale * height * scale * width, tokens.shape[3])  # (B, scale² N, channel)
        return tokens, (scale * height, scale * width)

    def macs(self, tokens: int) -> int:
        """Count the multiply-accumulates of expanding N tokens, without the head."""
        return tokens * self.expand.weight.numel()

    def input_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return read("expand")

    def output_axes(self) -> list[ChannelAxis]:
        """Declare the rows of `expand`, which are read as (row, column, channel); see `channel_axes`."""
        return [*written("norm"), *repeated(written("expand", bias=False), self.scale**2)]
