"""Embedded-ViT and DAE-Former: one U-shaped transformer with two stages or three.

Our own networks have convolutions around the transformer, because a patch of 4 x 4 pixels is too coarse for small or
thin structures.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from embedded_vit.errors import NetworkError
from embedded_vit.layers.channel_axes import ChannelAxis, inside, read, repeated, written
from embedded_vit.layers.convolutions import ConvolutionStage, UpsamplingStage
from embedded_vit.layers.cross_attention import CrossAttention
from embedded_vit.layers.dual_block import DualBlock
from embedded_vit.layers.feed_forward import Mixing
from embedded_vit.layers.patches import PatchEmbedding, PatchExpanding, tokens_to_image
from embedded_vit.models.layered_network import LayeredNetwork, check_square, inner_axes, of_kind

__all__ = ["EmbeddedViT", "check_image_size", "check_widths"]

HEADS = 8  # of every channel attention; every width is a multiple of it


class EmbeddedViT(LayeredNetwork):
    """A small U-shaped dual-attention transformer: images B x C x S x S in, logits B x K x S x S out.

    S may be any multiple of 8 with two stages, and of 16 with three.

    Args:
        widths: Channels of every stage, finest first: two for Embedded-ViT, three for DAE-Former.
        depth: Dual blocks in every encoder stage; decoder stages always have two.
        hidden_ratio: Hidden width of every feed-forward layer over the width of its stage.
        mixing: "depthwise" (the paper's grouping) or "dense" convolutions in the feed-forward layers.
        convolution_widths: Channels of convolution stages before and after the transformer, at full and at half
            resolution; none in the published networks. Tokens are then patches of the half resolution's features.
        in_channels: Channels of the image. A single channel is always accepted too, and stands for as many copies.
        classes: K, background included.

    Raises:
        NetworkError: A width is not a multiple of 8, or there are fewer than two; convolution widths are not two.

    Source: Embedded-ViT (Ostrowski and Shafique, ISVC 2024); DAE-Former (Azad et al., 2212.13504).
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        depth: int = 1,
        hidden_ratio: int = 4,
        mixing: Mixing = "depthwise",
        convolution_widths: Sequence[int] = (),
        in_channels: int = 3,
        classes: int = 9,
    ) -> None:
        super().__init__()
        check_widths(widths, convolution_widths)
        self.in_channels = in_channels
        self.stages = len(widths)
        full, half = convolution_widths or (in_channels, in_channels)
        stride, scale = (2, 1) if convolution_widths else (4, 4)  # between the image or the convolutions and tokens
        self.down = nn.ModuleList()
        if convolution_widths:
            self.down.extend([ConvolutionStage(in_channels, full), ConvolutionStage(full, half, stride=2)])
        self.encoder = nn.ModuleList(
            EncoderStage(before, width, depth, hidden_ratio * width, mixing, stride=2 if index else stride)
            for index, (before, width) in enumerate(zip([half, *widths[:-1]], widths, strict=True))
        )
        self.expand = PatchExpanding(widths[-1], widths[-1] // 2, scale=2)
        self.decoder = nn.ModuleList(
            DecoderStage(
                widths[index + 1] // 2, widths[index], hidden_ratio * widths[index], mixing, scale=2 if index else scale
            )
            for index in reversed(range(len(widths) - 1))
        )
        self.up = nn.ModuleList()
        if convolution_widths:
            self.up.extend([UpsamplingStage(widths[0], half), UpsamplingStage(half, full)])
        self.head = nn.Conv2d(full, classes, 1) if convolution_widths else nn.Linear(widths[0], classes)
        for part in (self.expand, self.decoder, self.head):
            part.apply(_xavier)

    def forward(self, image: Tensor, coarse: list[Tensor] | None = None) -> Tensor:
        """Segment images: (B, in_channels or 1, S, S) -> (B, K, S, S); see `LayeredNetwork.forward`."""
        self.check_channels(image)
        check_image_size(*image.shape[2:], stages=self.stages)
        if self.down:  # with few channels, convolutions train faster channels-last, as tokens lie anyway
            image = image.contiguous(memory_format=torch.channels_last)
        else:  # a copy: one channel counts as either order, and its features would come out as planes
            image = image.clone(memory_format=torch.channels_last)
        details = []
        for stage in self.down:
            image = stage(image)
            details.append(image)
        coarse = [] if coarse is None else coarse
        image = self._transformed(image, coarse)
        for stage in self.up:
            coarse.append(image)
            image = stage(image, details.pop())
        return self.head(image) if self.up else image

    def _transformed(self, image: Tensor, coarse: list[Tensor]) -> Tensor:
        """Run the transformer: return logits (B, K, S, S), or the finest tokens' features where convolutions follow.

        All coarser features are added to `coarse`.
        """
        skips = []
        for stage in self.encoder:
            tokens, size = stage(image)
            skips.append((tokens, size))
            image = tokens_to_image(tokens, size)
        coarse.append(image)
        tokens, size = self.expand(*skips.pop())
        for stage in self.decoder:
            skip, size = skips.pop()
            tokens, size = stage(tokens, skip, size, head=None if skips or self.up else self.head)
            image = tokens_to_image(tokens, size)
            if skips:
                coarse.append(image)
        return image

    def macs(self, image_size: int, *, input_channels: int = 1, published: bool = False) -> int:
        """Count the multiply-accumulates of one image; see `LayeredNetwork.macs`.

        Args:
            image_size: S.
            input_channels: Channels of the image; 1 is a grey image, which stands for copies of itself.
            published: Count the published form in place of the folded form that runs. It copies a grey image to all
                channels, evaluates fc1 of every feed-forward layer twice, and applies every linear layer to each token.
        """
        pixels, grey = image_size**2, input_channels == 1 and not published
        tokens = [pixels // 4 ** (level + 2) for level in range(self.stages)]  # of every stage, finest first
        total = pixels * self.head.weight.numel() + self.expand.macs(tokens[-1])
        for index, down in enumerate(of_kind(self.down, ConvolutionStage)):
            total += down.macs(pixels // 4**index, grey=grey and index == 0)
        for index, encoder in enumerate(of_kind(self.encoder, EncoderStage)):
            sees_image = index == 0 and not self.down
            total += encoder.macs(tokens[index], published=published, grey=grey and sees_image)
        for count, decoder in zip(reversed(tokens[:-1]), of_kind(self.decoder, DecoderStage), strict=True):
            total += decoder.macs(count, published=published)
        for index, up in enumerate(reversed(of_kind(self.up, UpsamplingStage))):
            total += up.macs(pixels // 4**index)
        return total

    def channel_axes(self) -> dict[str, list[ChannelAxis]]:
        """Join what the layers declare; see `LayeredNetwork.channel_axes`."""
        return {**self._stream_axes(), **inner_axes(self), **self._expanded_axes(), **self._convolution_axes()}

    def _stream_axes(self) -> dict[str, list[ChannelAxis]]:
        """Return the residual stream of every stage; an encoder's is also the skip of a decoder stage."""
        axes = {}
        encoder, decoder = of_kind(self.encoder, EncoderStage), of_kind(self.decoder, DecoderStage)
        for index, stage in enumerate(encoder):
            name = f"encoder.{index}"
            axes[name] = inside(name, stage.stream_axes())
            if index + 1 < self.stages:
                axes[name] += inside(f"encoder.{index + 1}", encoder[index + 1].input_axes())
                joining = self.stages - 2 - index
                axes[name] += inside(f"decoder.{joining}", decoder[joining].skip_axes())
            else:
                axes[name] += inside("expand", self.expand.input_axes())
        for index, joined in enumerate(decoder):
            name = f"decoder.{index}"
            axes[name] = inside(name, joined.stream_axes())
            if joined.expand is None:
                axes[name] += inside("up.0", of_kind(self.up, UpsamplingStage)[0].input_axes())
        return axes

    def _expanded_axes(self) -> dict[str, list[ChannelAxis]]:
        """Return the output channels of each patch expanding, which the next decoder stage or the head reads."""
        decoder = of_kind(self.decoder, DecoderStage)
        expanding = [
            ("expand", self.expand),
            *((f"decoder.{i}.expand", stage.expand) for i, stage in enumerate(decoder)),
        ]
        reading = [*(inside(f"decoder.{i}", stage.input_axes()) for i, stage in enumerate(decoder)), read("head")]
        return {
            name: [*inside(name, layer.output_axes()), *readers]
            for (name, layer), readers in zip(expanding, reading, strict=True)
            if layer is not None
        }

    def _convolution_axes(self) -> dict[str, list[ChannelAxis]]:
        """Return the output channels of each convolution stage; on the way down they are also a skip."""
        down, up = of_kind(self.down, ConvolutionStage), of_kind(self.up, UpsamplingStage)
        stem = inside("encoder.0", of_kind(self.encoder, EncoderStage)[0].input_axes())
        axes = {}
        for index, (descending, ascending) in enumerate(zip(down, up, strict=True)):
            last, joining = index + 1 == len(down), len(up) - 1 - index
            coarser = stem if last else inside(f"down.{index + 1}", down[index + 1].input_axes())
            finer = read("head") if last else inside(f"up.{index + 1}", up[index + 1].input_axes())
            skip = inside(f"up.{joining}", up[joining].skip_axes())
            axes[f"down.{index}"] = [*inside(f"down.{index}", descending.output_axes()), *coarser, *skip]
            axes[f"up.{index}"] = [*inside(f"up.{index}", ascending.output_axes()), *finer]
        return axes


class EncoderStage(nn.Module):
    """Patch embedding, `depth` dual blocks, LayerNorm; its output is both the skip and the next stage's input."""

    def __init__(self, before: int, width: int, depth: int, hidden: int, mixing: Mixing, *, stride: int) -> None:
        super().__init__()
        self.embedding = PatchEmbedding(before, width, kernel_size=2 * stride - 1, stride=stride)
        self.blocks = nn.ModuleList(DualBlock(width, hidden, mixing) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Compute tokens: (B, C, stride * H, stride * W) -> (B, N, width) and (H, W)."""
        tokens, size = self.embedding(image)
        for block in self.blocks:
            tokens = block(tokens, size)
        return self.norm(tokens), size

    def macs(self, tokens: int, *, published: bool = False, grey: bool = False) -> int:
        """Count the multiply-accumulates of N tokens, in the form that runs or in the published one.

        `grey`: a single channel stands for all that the embedding reads.
        """
        blocks = sum(block.macs(tokens, published=published) for block in of_kind(self.blocks, DualBlock))
        return self.embedding.macs(tokens, grey=grey) + blocks

    def input_axes(self) -> list[ChannelAxis]:
        """See `channel_axes`."""
        return inside("embedding", self.embedding.input_axes())

    def stream_axes(self) -> list[ChannelAxis]:
        """Declare the channels of the tokens, from the embedding to the last norm; see `channel_axes`."""
        return [*inside("embedding", self.embedding.output_axes()), *_blocks_axes(self.blocks), *written("norm")]


class DecoderStage(nn.Module):
    """Cross attention with the skip, two dual blocks, patch expanding.

    The scale of the expanding is 4 at the finest stage, up to the image, 2 at other stages, and 1 (none) before
    convolutions.
    """

    def __init__(self, below: int, width: int, hidden: int, mixing: Mixing, *, scale: int) -> None:
        super().__init__()
        self.linear_below = nn.Linear(below, width)
        self.cross_attention = CrossAttention(width, hidden, mixing)
        self.linear_joined = nn.Linear(2 * width, width)
        self.blocks = nn.ModuleList(DualBlock(width, hidden, mixing) for _ in range(2))
        self.expand = PatchExpanding(width, width if scale == 4 else width // 2, scale=scale) if scale > 1 else None

    def forward(
        self, below: Tensor, skip: Tensor, size: tuple[int, int], head: nn.Linear | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        """Join tokens from below (B, N, below) and skip (B, N, width), of size (H, W); return expanded tokens and size.

        `head` is applied to every expanded token, as in `PatchExpanding`.
        """
        tokens = self.cross_attention(self.linear_below(below), skip, size)  # (B, N, 2 width)
        tokens = self.linear_joined(tokens)  # (B, N, width)
        for block in self.blocks:
            tokens = block(tokens, size)
        return (tokens, size) if self.expand is None else self.expand(tokens, size, head)

    def macs(self, tokens: int, *, published: bool = False) -> int:
        """Count the multiply-accumulates of N tokens before expanding, in the form that runs or the published one."""
        linear = self.linear_below.weight.numel() + self.linear_joined.weight.numel()
        total = tokens * linear + self.cross_attention.macs(tokens, published=published)
        total += sum(block.macs(tokens, published=published) for block in of_kind(self.blocks, DualBlock))
        return total if self.expand is None else total + self.expand.macs(tokens)

    def input_axes(self) -> list[ChannelAxis]:
        """Declare the channels of the features from below; see `channel_axes`."""
        return read("linear_below")

    def skip_axes(self) -> list[ChannelAxis]:
        """Declare the channels of the skip, to which `linear_below` brings the features from below."""
        joined = inside("cross_attention", self.cross_attention.joined_axes())
        return [*written("linear_below"), *joined, *repeated(read("linear_joined"), 2)]

    def stream_axes(self) -> list[ChannelAxis]:
        """Declare the channels of the tokens after joining; see `channel_axes`."""
        expanding = [] if self.expand is None else inside("expand", self.expand.input_axes())
        return [*written("linear_joined"), *_blocks_axes(self.blocks), *expanding]


def check_widths(widths: Sequence[int], convolution_widths: Sequence[int]) -> None:
    """Refuse widths that the stages cannot have.

    Raises:
        NetworkError: The message says which widths are possible.
    """
    if len(widths) < 2 or any(width < HEADS or width % HEADS for width in widths):
        raise NetworkError(f"widths {tuple(widths)}: expected two or more positive multiples of {HEADS}")
    if len(convolution_widths) not in (0, 2) or any(width < 1 for width in convolution_widths):
        raise NetworkError(f"convolution widths {tuple(convolution_widths)}: expected none or two positive numbers")


def check_image_size(height: int, width: int, *, stages: int) -> None:
    """Refuse an image that the stages cannot halve.

    Raises:
        NetworkError: The message names the next sizes that fit.
    """
    check_square(height, width, multiple=2 ** (stages + 1))


def _blocks_axes(blocks: nn.ModuleList) -> list[ChannelAxis]:
    return [
        axis
        for index, block in enumerate(of_kind(blocks, DualBlock))
        for axis in inside(f"blocks.{index}", block.stream_axes())
    ]


def _xavier(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
