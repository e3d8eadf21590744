"""Plain slim U-Nets: no attention, but what a processor computes fast. The yardstick of every comparison by latency."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.errors import NetworkError
from embedded_vit.layers.channel_axes import ChannelAxis, inside, read
from embedded_vit.layers.convolutions import ConvolutionStage, UpsamplingStage
from embedded_vit.models.layered_network import LayeredNetwork, check_square, inner_axes, of_kind

__all__ = ["SlimUNet", "check_unet_widths", "unet_size_multiple"]


class SlimUNet(LayeredNetwork):
    """A U-Net: images B x C x S x S in, logits B x K x S x S out.

    Two 3 x 3 convolutions with batch norm and ReLU on each level, max pooling on the way down, 2 x 2 transposed
    convolutions and joined skips on the way up.

    Args:
        widths: Channels of every level, finest first, each level half the resolution of the one before.
        in_channels: Channels of the image; a single channel is always taken too, and stands for as many copies.
        classes: K, background included.

    Raises:
        NetworkError: There are fewer than two widths, or one is not positive.

    Source: Ronneberger et al., "U-Net", 1505.04597; the batch norms are ours.
    """

    def __init__(self, widths: Sequence[int], *, in_channels: int = 3, classes: int = 9) -> None:
        super().__init__()
        check_unet_widths(widths)
        self.in_channels = in_channels
        self.down = nn.ModuleList(
            ConvolutionStage(finer, own) for finer, own in zip([in_channels, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            UpsamplingStage(coarser, own) for coarser, own in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: Tensor, coarse: list[Tensor] | None = None) -> Tensor:
        """Segment images; see `LayeredNetwork.forward`."""
        self.check_channels(image)
        check_square(*image.shape[2:], multiple=unet_size_multiple(len(self.down)))
        coarse = [] if coarse is None else coarse
        features, skips = image, list[Tensor]()
        for stage in self.down:
            features = stage(functional.max_pool2d(features, 2) if skips else features)
            skips.append(features)
        for stage, skip in zip(self.up, skips[-2::-1], strict=True):
            coarse.append(features)
            features = stage(features, skip)
        logits: Tensor = self.head(features)
        return logits

    def macs(self, image_size: int, *, input_channels: int = 1) -> int:
        """Count the multiply-accumulates of one image; see `LayeredNetwork.macs`."""
        pixels = image_size**2
        total = pixels * self.head.weight.numel()
        for level, down in enumerate(of_kind(self.down, ConvolutionStage)):
            total += down.macs(pixels // 4**level, grey=input_channels == 1 and level == 0)
        for level, up in enumerate(reversed(of_kind(self.up, UpsamplingStage))):
            total += up.macs(pixels // 4**level)
        return total

    def channel_axes(self) -> dict[str, list[ChannelAxis]]:
        """Join what the layers declare; see `LayeredNetwork.channel_axes`."""
        down, up = of_kind(self.down, ConvolutionStage), of_kind(self.up, UpsamplingStage)
        axes = inner_axes(self)
        for level, stage in enumerate(down):
            if level + 1 == len(down):
                readers = inside("up.0", up[0].input_axes())
            else:
                joining = len(up) - 1 - level
                skip = inside(f"up.{joining}", up[joining].skip_axes())
                readers = [*inside(f"down.{level + 1}", down[level + 1].input_axes()), *skip]
            axes[f"down.{level}"] = [*inside(f"down.{level}", stage.output_axes()), *readers]
        for index, ascending in enumerate(up):
            last = index + 1 == len(up)
            readers = read("head") if last else inside(f"up.{index + 1}", up[index + 1].input_axes())
            axes[f"up.{index}"] = [*inside(f"up.{index}", ascending.output_axes()), *readers]
        return axes


def check_unet_widths(widths: Sequence[int]) -> None:
    """Refuse channels that the levels cannot have.

    Raises:
        NetworkError: It names what they can.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise NetworkError(f"widths {tuple(widths)}: expected two or more positive numbers")


def unet_size_multiple(levels: int) -> int:
    """Return the number of which the image's side must be a multiple."""
    return int(2 ** (levels - 1))
