"""What the networks of this package have in common: they declare their costs and the channels that belong together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TypeVar

from torch import Tensor, nn

from embedded_vit.errors import NetworkError
from embedded_vit.layers.channel_axes import ChannelAxis, HasInnerAxes, inside
from embedded_vit.layers.fused_block import FusedBlock

__all__ = ["LayeredNetwork", "check_square", "inner_axes", "of_kind"]

Kind = TypeVar("Kind", bound=nn.Module)


class LayeredNetwork(nn.Module, ABC):
    """A network made of this package's layers: images (B, C, S, S) in, logits (B, K, T, T) out.

    Attributes:
        in_channels: Channels of the image; a single grey channel is always taken too.
    """

    in_channels: int

    @abstractmethod
    def forward(self, image: Tensor, coarse: list[Tensor] | None = None) -> Tensor:
        """Segment images.

        Args:
            image: (B, in_channels or 1, S, S), intensities in [-1, 1].
            coarse: Gets the features on the way up that lie below the resolution of the logits, coarsest first.
                Training may supervise them too.

        Returns:
            Logits (B, K, T, T).

        Raises:
            NetworkError: S or the number of channels does not fit.
        """

    @abstractmethod
    def macs(self, image_size: int, *, input_channels: int = 1) -> int:
        """Count the multiply-accumulates of one image: convolutions and matrix products.

        Args:
            image_size: S.
            input_channels: Channels of the image; 1 is a grey image, which stands for copies of itself.
        """

    def fused_blocks(self, image_size: int, *, input_channels: int = 1) -> list[FusedBlock]:
        """Return the blocks whose latencies add up to the network's; none where the network cannot be divided so.

        Args:
            image_size: S.
            input_channels: Channels of the image.
        """
        return []

    @abstractmethod
    def channel_axes(self) -> dict[str, list[ChannelAxis]]:
        """Join what the layers declare: for every kind of channels the axes that can only be removed together.

        Returns:
            Name of the module whose channels they are -> axes; `embedded_vit.models.channels` lists the names.
        """

    def check_channels(self, image: Tensor) -> None:
        """Refuse an image whose channels the network does not take.

        Raises:
            NetworkError: It has neither `in_channels` nor one.
        """
        if image.shape[1] not in (1, self.in_channels):
            raise NetworkError(f"image has {image.shape[1]} channels; this network takes 1 or {self.in_channels}")


def check_square(height: int, width: int, *, multiple: int) -> None:
    """Refuse an image that a network cannot halve as often as it must.

    Raises:
        NetworkError: It names the next sizes that fit.
    """
    if height != width or height % multiple or height < multiple:
        smaller = max(multiple, max(height, width) // multiple * multiple)
        raise NetworkError(
            f"image size {height} x {width}: expected a square with a side that is a multiple of {multiple}, "
            f"for example {smaller} or {smaller + multiple}"
        )


def inner_axes(network: nn.Module) -> dict[str, list[ChannelAxis]]:
    """Return the channels that single layers keep to themselves, under their names in the network."""
    return {
        f"{name}.{channels}".removesuffix("."): inside(name, axes)
        for name, module in network.named_modules()
        if isinstance(module, HasInnerAxes)
        for channels, axes in module.inner_axes().items()
    }


def of_kind(modules: Iterable[nn.Module], kind: type[Kind]) -> list[Kind]:
    """Return the modules that are of a kind, with its type."""
    return [module for module in modules if isinstance(module, kind)]
