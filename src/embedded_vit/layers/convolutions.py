"""Convolutions at resolutions that are too fine for tokens; they keep the outlines of small organs.

Shape legend: B batch, C channels, H x W pixels.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from embedded_vit.layers.channel_axes import ChannelAxis, inside, read, repeated, written

__all__ = [
    "ConvolutionStage",
    "NormedConvolution",
    "UpsamplingStage",
    "convolution_macs",
    "convolved",
    "without_batch_norms",
]


def convolved(convolution: nn.Conv2d, image: Tensor) -> Tensor:
    """Apply a convolution; a single grey channel stands for as many copies of itself as the convolution reads.

    The copies go through the sum of their kernels: the same function with fewer multiply-accumulates.
    """
    weight = convolution.weight  # (out, in, kernel, kernel)
    if image.shape[1] == 1 < weight.shape[1]:
        weight = weight.sum(dim=1, keepdim=True)
    return functional.conv2d(image, weight, convolution.bias, convolution.stride, convolution.padding)


def convolution_macs(convolution: nn.Conv2d, pixels: int, *, grey: bool = False) -> int:
    """Count the multiply-accumulates of `convolved`.

    Args:
        convolution: The convolution.
        pixels: Pixels of its output.
        grey: Whether a single channel stands for all that the convolution reads.
    """
    weights = convolution.weight.numel()
    return pixels * (weights // convolution.weight.shape[1] if grey else weights)


class NormedConvolution(nn.Module):
    """A convolution and its batch norm, without activation.

    Args:
        in_channels: Channels of the input.
        channels: C of the output.
        kernel_size: Side of the square kernel. The padding lets an output have H x W = input / stride.
        stride: Of the convolution.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, *, stride: int = 1) -> None:
        super().__init__()
        padding = (kernel_size - stride + 1) // 2
        self.convolution = nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Compute features: (B, in_channels or 1, stride * H, stride * W) -> (B, C, H, W)."""
        return self.norm(convolved(self.convolution, image))

    def fold(self) -> None:
        """Fold the batch norm into the convolution's weight and bias, in place; for a network in evaluation mode."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.convolution, self.norm = fuse_conv_bn_eval(self.convolution, self.norm), nn.Identity()

    def macs(self, pixels: int, *, grey: bool = False) -> int:
        """Count the multiply-accumulates of an output of so many pixels; `grey` as in `convolution_macs`."""
        return convolution_macs(self.convolution, pixels, grey=grey)

    def input_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return read("convolution")

    def output_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        statistics = [ChannelAxis(f"norm.{kept}", 0) for kept in ("running_mean", "running_var")]
        return [*written("convolution", bias=False), *written("norm"), *statistics]


class ConvolutionStage(nn.Module):
    """Two 3 x 3 convolutions, each with batch norm and ReLU.

    Args:
        in_channels: Channels of the image or of the stage before.
        channels: C of the output.
        stride: Stride of the first convolution.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.convolution1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.convolution2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Compute features: (B, in_channels or 1, stride * H, stride * W) -> (B, C, H, W)."""
        image = functional.relu(self.norm1(convolved(self.convolution1, image)))
        return functional.relu(self.norm2(self.convolution2(image)))

    def fold(self) -> None:
        """Fold the batch norms into the convolutions, in place; for a network in evaluation mode."""
        for convolution, norm in (("convolution1", "norm1"), ("convolution2", "norm2")):
            if isinstance(getattr(self, norm), nn.BatchNorm2d):
                setattr(self, convolution, fuse_conv_bn_eval(getattr(self, convolution), getattr(self, norm)))
                setattr(self, norm, nn.Identity())

    def macs(self, pixels: int, *, grey: bool = False) -> int:
        """Count the multiply-accumulates of an output of `pixels` pixels; `grey` as in `convolution_macs`."""
        first = convolution_macs(self.convolution1, pixels, grey=grey)
        return first + convolution_macs(self.convolution2, pixels)

    def input_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return read("convolution1")

    def output_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return _normed(2)

    def inner_axes(self) -> dict[str, list[ChannelAxis]]:
        """Declare the channels between the two convolutions; see `channel_axes`."""
        return {"convolution1": [*_normed(1), *read("convolution2")]}


class UpsamplingStage(nn.Module):
    """Doubles height and width by a transposed convolution, then two convolutions over the result and the skip.

    Args:
        below: Channels of the coarser features.
        channels: C of the skip and of the output.

    Source: Ronneberger et al., "U-Net", 1505.04597.
    """

    def __init__(self, below: int, channels: int) -> None:
        super().__init__()
        self.upsampling = nn.ConvTranspose2d(below, channels, 2, stride=2)
        self.convolutions = ConvolutionStage(2 * channels, channels)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """Join coarse features and skip: (B, below, H / 2, W / 2) and (B, C, H, W) -> (B, C, H, W)."""
        return self.convolutions(torch.cat([self.upsampling(coarse), skip], dim=1))

    def macs(self, pixels: int) -> int:
        """Count the multiply-accumulates of an output of `pixels` pixels."""
        return pixels // 4 * self.upsampling.weight.numel() + self.convolutions.macs(pixels)

    def input_axes(self) -> list[ChannelAxis]:
        """Declare the channels of the coarser features: rows, as a transposed convolution is (in, out, 2, 2)."""
        return [ChannelAxis("upsampling.weight", 0, role="read")]

    def skip_axes(self) -> list[ChannelAxis]:
        """Declare the channels of the skip and of the upsampled features, which are joined; see `channel_axes`."""
        joined = repeated(self.convolutions.input_axes(), 2)
        upsampled = [ChannelAxis("upsampling.weight", 1), ChannelAxis("upsampling.bias", 0)]
        return [*upsampled, *inside("convolutions", joined)]

    def output_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return inside("convolutions", self.convolutions.output_axes())


def _normed(number: int) -> list[ChannelAxis]:
    """Return the rows of a convolution stage's first or second convolution, and its batch norm."""
    norm = f"norm{number}"
    statistics = [ChannelAxis(f"{norm}.{kept}", 0) for kept in ("running_mean", "running_var")]
    return [*written(f"convolution{number}", bias=False), *written(norm), *statistics]


def without_batch_norms(network: nn.Module) -> nn.Module:
    """Return a network for inference, with the batch norms of its convolutions folded into the kernels.

    Args:
        network: The network; not changed.

    Returns:
        A copy in evaluation mode that computes the same function; its convolutions have a bias.
    """
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        if isinstance(module, ConvolutionStage | NormedConvolution):
            module.fold()
    return network
