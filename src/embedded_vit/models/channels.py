"""Groups of channels that can only be removed together, and their removal.

The layers of this package declare along which axes of their tensors channels lie (`embedded_vit.layers.channel_axes`),
and the network joins these declarations. In a user's own network they are found by tracing (`models.traced`).

A group is all axes of the same channels. It is named after the module that the channels belong to:

    encoder.1, decoder.0                           the residual stream of an encoder or a decoder stage
    encoder.0.blocks.0.feed_forward1               the hidden channels of a feed-forward layer
    encoder.0.blocks.0.attention.keys              keys and queries of an efficient attention
    encoder.0.blocks.0.attention.values            its values
    encoder.0.blocks.0.channel_attention           whole heads: its softmax runs over the channels of a head
    expand, decoder.0.expand                       the channels after a patch expanding
    down.0, up.0                                   the output of a convolution stage, and what it is joined to
    down.0.convolution1                            the channels between its two convolutions

and in the hybrid family:

    encoder.0, tokens                              all features of a level of pixels, and those of the tokens
    encoder.0.first                                the channels between the two convolutions of a pair
    tokens.0, tokens.0.expansion                   whole heads of a token block, hidden channels of its perceptron
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from embedded_vit.config import nearest_name
from embedded_vit.errors import NetworkError
from embedded_vit.layers.channel_axes import ChannelAxis, ScatteredAxis
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.models.traced.groups import TracedChannels
from embedded_vit.models.traced.network import TracedNetwork

__all__ = ["ChannelGroup", "channel_groups", "keep_channels", "traced_groups"]

LEAST_HEADS = 2  # of a traced network: in its graph a single head looks like none, and the group would be another one


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together from all these axes.

    Attributes:
        name: Name of the module that the channels belong to.
        width: Number of channels; in a channel attention, of heads.
        unit: Channels per unit of width: those of a head in an attention, 1 everywhere else.
        axes: The axes along which the channels lie.
        least: The smallest width that it may get.
    """

    name: str
    width: int
    unit: int
    axes: tuple[ChannelAxis, ...] | tuple[ScatteredAxis, ...]
    least: int = 1


def channel_groups(network: nn.Module) -> dict[str, ChannelGroup]:
    """Return all groups of a network by name, with their present widths.

    Raises:
        NetworkError: The network is a user's own and was not traced: its layers do not declare their channels.
    """
    if isinstance(network, TracedNetwork):
        return traced_groups(TracedChannels(network))
    if not isinstance(network, LayeredNetwork):
        raise NetworkError(f"{type(network).__name__}: channels can be removed once it is traced; see TracedNetwork")
    return {name: _group(network, name, axes) for name, axes in network.channel_axes().items()}


def traced_groups(channels: TracedChannels) -> dict[str, ChannelGroup]:
    """Return the groups that a trace found."""
    groups = {}
    for name, axes in channels.axes.items():
        read = [axis.each for axis in axes if axis.role == "read"]
        unit = min(read or [axis.each for axis in axes])
        groups[name] = ChannelGroup(name, channels.widths[name], unit, axes, least=1 if unit == 1 else LEAST_HEADS)
    return groups


def keep_channels(network: nn.Module, kept: Mapping[str, Sequence[int]]) -> None:
    """Keep some channels of groups and remove the others in place: every tensor of these groups becomes smaller.

    Args:
        network: A network of this package, or a traced one.
        kept: Group -> the channels to keep, in [0, width), each once; a traced network keeps their order.

    Raises:
        NetworkError: There is no such group, or the indices do not fit it.
    """
    if isinstance(network, TracedNetwork):
        channels = TracedChannels(network)
        for name, indices in kept.items():
            _check(name, indices, channels.widths)
        channels.remove(kept)
        return
    for name, indices in kept.items():
        groups = channel_groups(network)
        _check(name, indices, {each: group.width for each, group in groups.items()})
        _keep(network, groups[name], indices)


def _check(name: str, indices: Sequence[int], widths: Mapping[str, int]) -> None:
    if name not in widths:
        raise NetworkError(f"no channels '{name}'{nearest_name(name, widths)[:200]}")
    width = widths[name]
    fits = 1 <= len(indices) <= width  # asked first: a range may be far longer than memory
    if not fits or len(set(indices)) < len(indices) or min(indices) < 0 or max(indices) >= width:
        raise NetworkError(
            f"{name} has {width} channels; cannot keep {len(indices)} "
            f"({min(indices, default=0)} to {max(indices, default=0)}): expected 1 to {width} different ones"
        )


def _keep(network: nn.Module, group: ChannelGroup, indices: Sequence[int]) -> None:
    chosen = torch.tensor(list(indices), device="cpu")
    for axis in group.axes:
        assert isinstance(axis, ChannelAxis)
        owner, _, attribute = axis.parameter.rpartition(".")
        module = network.get_submodule(owner)
        values = getattr(module, attribute)
        places = axis.places(values.shape[axis.dimension], chosen).to(values.device)
        kept = values.detach().index_select(axis.dimension, places)
        trained = isinstance(values, nn.Parameter)
        setattr(module, attribute, nn.Parameter(kept, values.requires_grad) if trained else kept)
        _mend(module)


def _mend(module: nn.Module) -> None:
    """Set the widths that a PyTorch module records to those of its weights."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = len(module.weight)
    elif isinstance(module, nn.ConvTranspose2d):
        module.in_channels, module.out_channels = module.weight.shape[:2]
    elif isinstance(module, nn.Conv2d):
        module.out_channels, inputs = module.weight.shape[:2]
        if module.groups > 1:  # depthwise
            module.groups = module.out_channels
        module.in_channels = inputs * module.groups


def _group(network: nn.Module, name: str, axes: list[ChannelAxis]) -> ChannelGroup:
    first = axes[0]
    length = network.get_parameter(first.parameter).shape[first.dimension]
    return ChannelGroup(name, length // (first.repeat * first.each), first.each, tuple(axes))
