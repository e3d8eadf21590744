"""The hybrid family, made for milliseconds: convolutions where pixels are many, attention where they are few.

Engines run it without a change of layout above the tokens: batch norms fold into the convolutions, a sum and its ReLU
are computed by the convolution before them, features are enlarged by interpolation and added, and the logits lie at the
stem's resolution, as labelling enlarges logits anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.errors import NetworkError
from embedded_vit.layers.channel_axes import ChannelAxis, inside, read
from embedded_vit.layers.convolutions import NormedConvolution
from embedded_vit.layers.enlarging import enlarged
from embedded_vit.layers.fused_block import FusedBlock
from embedded_vit.layers.residual_pair import ResidualPair
from embedded_vit.layers.token_block import TokenBlock
from embedded_vit.models.layered_network import LayeredNetwork, check_square, inner_axes, of_kind

__all__ = ["Coarsest", "HybridViT", "check_hybrid_size", "check_hybrid_widths"]

Coarsest = Literal["attention", "convolutions"]
STEM_KERNELS = {1: 3, 2: 6, 4: 8}  # stride -> side of the kernel


class HybridViT(LayeredNetwork):
    """A U-shaped network: images B x C x S x S in, logits B x K x T x T out, T = S / stem_stride.

    Args:
        widths: Channels of every level, finest first, each level half the resolution of the one before. The last one
            holds the tokens; multiples of 16 waste nothing in engines that compute channels in blocks of 8 or 16.
        depth: Blocks at the last level, where pixels are tokens; 0 leaves them out.
        coarsest: What these blocks are: "attention", or pairs of convolutions, which see their neighbours only.
        hidden_ratio: Hidden width of the token blocks' perceptrons over the last width.
        stem_stride: 1, 2 or 4: by how much the first convolution reduces the image.
        in_channels: Channels of the image; a single channel is always taken too, and stands for as many copies.
        classes: K, background included.

    Raises:
        NetworkError: There are fewer than two widths, one is not positive, or the heads cannot share the last one.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        depth: int = 2,
        coarsest: Coarsest = "attention",
        hidden_ratio: int = 2,
        stem_stride: int = 2,
        in_channels: int = 3,
        classes: int = 9,
    ) -> None:
        super().__init__()
        check_hybrid_widths(widths)
        self.in_channels, self.stem_stride, self.levels = in_channels, stem_stride, len(widths)
        finer = list(pairwise(widths))  # (width of a level, width of the next coarser one)
        self.stem = NormedConvolution(in_channels, widths[0], STEM_KERNELS[stem_stride], stride=stem_stride)
        self.encoder = nn.ModuleList(ResidualPair(width) for width in widths[:-1])
        self.down = nn.ModuleList(NormedConvolution(width, coarser, 3, stride=2) for width, coarser in finer)
        self.tokens = nn.ModuleList(
            TokenBlock(widths[-1], hidden_ratio=hidden_ratio) if coarsest == "attention" else ResidualPair(widths[-1])
            for _ in range(depth)
        )
        self.up = nn.ModuleList(NormedConvolution(coarser, width, 1) for width, coarser in finer)
        self.decoder = nn.ModuleList(ResidualPair(width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor, coarse: list[Tensor] | None = None) -> Tensor:
        """Segment images; see `LayeredNetwork.forward`."""
        self.check_channels(image)
        check_hybrid_size(*image.shape[2:], levels=self.levels, stem_stride=self.stem_stride)
        coarse = [] if coarse is None else coarse
        features, skips = functional.relu(self.stem(image)), []
        for pair, down in zip(self.encoder, self.down, strict=True):
            skips.append(pair(features))
            features = functional.relu(down(skips[-1]))
        for block in self.tokens:
            features = block(features)
        for up, pair in zip(reversed(self.up), reversed(self.decoder), strict=True):
            coarse.append(features)
            features = pair(functional.relu(enlarged(up(features), 2) + skips.pop()))
        return self.head(features)

    def macs(self, image_size: int, *, input_channels: int = 1) -> int:
        """Count the multiply-accumulates of one image; see `LayeredNetwork.macs`."""
        pixels = (image_size // self.stem_stride) ** 2
        total = self.stem.macs(pixels, grey=input_channels == 1) + pixels * self.head.weight.numel()
        for pairs in (of_kind(self.encoder, ResidualPair), of_kind(self.decoder, ResidualPair)):
            total += sum(pair.macs(pixels // 4**level) for level, pair in enumerate(pairs))
        for level, (down, up) in enumerate(zip(self.down, self.up, strict=True), start=1):
            total += sum(layer.macs(pixels // 4**level) for layer in of_kind([down, up], NormedConvolution))
        return total + sum(block.macs(pixels // 4 ** (self.levels - 1)) for block in self._blocks())

    def fused_blocks(self, image_size: int, *, input_channels: int = 1) -> list[FusedBlock]:
        """Return stem and head, pairs, ways between levels, and token blocks; see `LayeredNetwork.fused_blocks`."""
        classes, finest = self.head.weight.shape[:2]
        kernel_side = self.stem.convolution.weight.shape[-1]
        blocks = [
            FusedBlock("frame", (finest,), image_size, (1,), (input_channels, self.stem_stride, kernel_side, classes))
        ]
        side = image_size // self.stem_stride
        levels = zip(of_kind(self.encoder, ResidualPair), self.down, of_kind(self.decoder, ResidualPair), strict=True)
        for before, down, after in levels:
            coarser, finer = of_kind([down], NormedConvolution)[0].convolution.weight.shape[:2]
            blocks += [before.fused_block(side), after.fused_block(side)]
            blocks.append(FusedBlock("level", (finer, coarser), side, (1, 1)))
            side //= 2
        coarsest = [part for block in of_kind(self.tokens, TokenBlock) for part in block.fused_blocks(side)]
        return [*blocks, *coarsest, *(pair.fused_block(side) for pair in of_kind(self.tokens, ResidualPair))]

    def channel_axes(self) -> dict[str, list[ChannelAxis]]:
        """Join what the layers declare; see `LayeredNetwork.channel_axes`.

        The way up adds to the features of the way down, so that a level has one stream of channels, named after its
        part of the encoder; the coarsest one is named after the tokens.
        """
        streams = {f"encoder.{level}": self._stream_axes(level) for level in range(self.levels - 1)}
        last = self.levels - 2
        streams["tokens"] = [
            *self._axes_of("down", last, "output"),
            *(
                axis
                for index, block in enumerate(self._blocks())
                for axis in inside(f"tokens.{index}", block.stream_axes())
            ),
            *self._axes_of("up", last, "input"),
        ]
        return {**streams, **inner_axes(self)}

    def _stream_axes(self, level: int) -> list[ChannelAxis]:
        """The channels of a level of pixels: what the stem or the level above writes, and all that reads it."""
        written_from_above = (
            inside("stem", self.stem.output_axes()) if level == 0 else self._axes_of("down", level - 1, "output")
        )
        read_above = read("head") if level == 0 else self._axes_of("up", level - 1, "input")
        pairs = [
            axis
            for way, modules in (("encoder", self.encoder), ("decoder", self.decoder))
            for axis in inside(f"{way}.{level}", of_kind(modules, ResidualPair)[level].stream_axes())
        ]
        return [
            *written_from_above,
            *pairs,
            *self._axes_of("down", level, "input"),
            *self._axes_of("up", level, "output"),
            *read_above,
        ]

    def _axes_of(self, way: str, level: int, side: str) -> list[ChannelAxis]:
        layer = of_kind(getattr(self, way), NormedConvolution)[level]
        return inside(f"{way}.{level}", layer.input_axes() if side == "input" else layer.output_axes())

    def _blocks(self) -> list[TokenBlock | ResidualPair]:
        return [block for block in self.tokens if isinstance(block, TokenBlock | ResidualPair)]


def check_hybrid_widths(widths: Sequence[int]) -> None:
    """Refuse channels that the levels cannot have.

    Raises:
        NetworkError: It names what they can.
    """
    heads = TokenBlock.HEADS
    if len(widths) < 2 or min(widths) < 1 or widths[-1] % heads:
        raise NetworkError(f"widths {tuple(widths)}: expected two or more, the last one a multiple of {heads}")


def check_hybrid_size(height: int, width: int, *, levels: int, stem_stride: int) -> None:
    """Refuse an image that the levels cannot halve.

    Raises:
        NetworkError: It names the next sizes that fit.
    """
    check_square(height, width, multiple=stem_stride * 2 ** (levels - 1))
