"""Which channels of a network live and die together, and how to remove them for good.

A channel seldom lies in one tensor: a hidden channel of a feed-forward layer is a row of fc1, a kernel of the
convolution, an entry of the norm and a column of fc2. A group lists all of these axes. Its name is that of the module
whose channels they are:

    encoder.1, decoder.0                           the residual stream of an encoder or a decoder stage
    encoder.0.blocks.0.feed_forward1               the hidden channels of a feed-forward layer
    encoder.0.blocks.0.attention.keys              keys and queries of an efficient attention
    encoder.0.blocks.0.attention.values            its values
    encoder.0.blocks.0.channel_attention           whole heads: its softmax runs over the channels of a head
    expand, decoder.0.expand                       the channels after a patch expanding
    down.0, up.0                                   what a convolution stage hands on, and what it is joined to
    down.0.convolution1                            the channels between its two convolutions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from embedded_vit.config import nearest_name
from embedded_vit.errors import NetworkError
from embedded_vit.layers.channel_attention import ChannelAttention
from embedded_vit.layers.convolutions import ConvolutionStage
from embedded_vit.layers.dual_block import DualBlock
from embedded_vit.layers.efficient_attention import EfficientAttention
from embedded_vit.layers.feed_forward import MixFeedForward
from embedded_vit.layers.patches import PatchExpanding
from embedded_vit.models.embedded_vit import DecoderStage, EmbeddedViT, EncoderStage

__all__ = ["ChannelAxis", "ChannelGroup", "channel_groups", "keep_channels"]

Role = Literal["written", "read", "gate"]


@dataclass(frozen=True)
class ChannelAxis:
    """Where a group's channels lie in one parameter: a dimension, read as (repeat, width, each).

    Attributes:
        parameter: Its name in the network; the statistics of a batch norm count as parameters.
        dimension: Of the parameter.
        repeat: How many times over the channels stand in it: 2 in the joined features of a cross attention.
        each: Entries a channel: those of a whole head.
        role: "read" where zeros in place of a channel's weights remove the channel, "gate" where the parameter's
            gradient is that of a factor before the channel in a softmax, "written" everywhere else.
    """

    parameter: str
    dimension: int
    repeat: int = 1
    each: int = 1
    role: Role = "written"

    def by_channel(self, values: Tensor) -> Tensor:
        """A tensor of the parameter's shape -> (width, everything else)."""
        values = values.movedim(self.dimension, 0)  # (repeat * width * each, ...)
        values = values.reshape(self.repeat, -1, self.each, values[0].numel())  # (repeat, width, each, rest)
        return values.transpose(0, 1).flatten(1)

    def places(self, length: int, indices: Tensor) -> Tensor:
        """Where these channels lie in a dimension of this length: (repeat * indices * each,)."""
        places = torch.arange(length).reshape(self.repeat, -1, self.each)  # (repeat, width, each)
        return places[:, indices].flatten()


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together from all these axes.

    Attributes:
        name: Of the module whose channels they are.
        width: How many there are; heads in a channel attention.
        unit: Channels that one of them stands for: those of a head, 1 everywhere else.
        axes: Where they lie.
    """

    name: str
    width: int
    unit: int
    axes: tuple[ChannelAxis, ...]


def channel_groups(network: nn.Module) -> dict[str, ChannelGroup]:
    """All groups of a network by name, with the widths that it has now.

    Raises:
        NetworkError: It is a user's own network, whose channels nobody has described.
    """
    if not isinstance(network, EmbeddedViT):
        raise NetworkError(f"{type(network).__name__}: channels can be removed from this package's networks only")
    groups = [_group(network, name, axes) for name, axes in _stream_axes(network).items()]
    for name, module in network.named_modules():
        if isinstance(module, MixFeedForward):
            groups.append(_group(network, name, _hidden_axes(name, module)))
        elif isinstance(module, EfficientAttention):
            groups.append(_group(network, f"{name}.keys", _key_axes(name)))
            groups.append(_group(network, f"{name}.values", _writes(f"{name}.values") + _reads(f"{name}.reprojection")))
        elif isinstance(module, ChannelAttention):
            groups.append(_group(network, name, _head_axes(name, module)))
        elif isinstance(module, ConvolutionStage):
            hidden = [*_normed(name, 1), *_reads(f"{name}.convolution2")]
            groups.append(_group(network, f"{name}.convolution1", hidden))
    for axes_by_name in (_expanding_axes(network), _convolution_axes(network)):
        groups.extend(_group(network, name, axes) for name, axes in axes_by_name.items())
    return {group.name: group for group in groups}


def keep_channels(network: nn.Module, group_name: str, indices: Sequence[int]) -> None:
    """Remove all other channels of a group, in place: every tensor of the group gets smaller.

    Args:
        network: One of this package's.
        group_name: A key of `channel_groups`.
        indices: The channels that stay, in [0, width), each once; they will lie in this order.

    Raises:
        NetworkError: There is no such group, or the indices do not fit it.
    """
    groups = channel_groups(network)
    if group_name not in groups:
        raise NetworkError(f"no channels '{group_name}'{nearest_name(group_name, groups)[:200]}")
    group = groups[group_name]
    if not indices or len(set(indices)) < len(indices) or min(indices) < 0 or max(indices) >= group.width:
        raise NetworkError(
            f"{group_name} has {group.width} channels; cannot keep {len(indices)} "
            f"({min(indices, default=0)} to {max(indices, default=0)}): expected 1 to {group.width} different ones"
        )
    chosen = torch.tensor(list(indices), device="cpu")
    for axis in group.axes:
        owner, _, attribute = axis.parameter.rpartition(".")
        module = network.get_submodule(owner)
        values = getattr(module, attribute)
        places = axis.places(values.shape[axis.dimension], chosen).to(values.device)
        kept = values.detach().index_select(axis.dimension, places)
        trained = isinstance(values, nn.Parameter)
        setattr(module, attribute, nn.Parameter(kept, values.requires_grad) if trained else kept)
        _mend(module)


def _mend(module: nn.Module) -> None:
    """Let a module's own record of its architecture follow its weights."""
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
    elif isinstance(module, ChannelAttention):
        module.heads = module.temperature.shape[0]


def _group(network: nn.Module, name: str, axes: list[ChannelAxis]) -> ChannelGroup:
    first = axes[0]
    length = network.get_parameter(first.parameter).shape[first.dimension]
    return ChannelGroup(name, length // (first.repeat * first.each), first.each, tuple(axes))


def _writes(name: str, *, bias: bool = True, repeat: int = 1) -> list[ChannelAxis]:
    """The rows of a linear layer or convolution, or a norm, that make the channels."""
    axes = [ChannelAxis(f"{name}.weight", 0, repeat)]
    return [*axes, ChannelAxis(f"{name}.bias", 0, repeat)] if bias else axes


def _reads(name: str, *, repeat: int = 1) -> list[ChannelAxis]:
    """The columns of a linear layer or convolution that read the channels."""
    return [ChannelAxis(f"{name}.weight", 1, repeat, role="read")]


def _hidden_axes(name: str, layer: MixFeedForward) -> list[ChannelAxis]:
    dense = layer.convolution.groups == 1
    return [
        *_writes(f"{name}.fc1"),
        *_writes(f"{name}.convolution"),
        *(_reads(f"{name}.convolution") if dense else []),
        *_writes(f"{name}.norm"),
        *_reads(f"{name}.fc2"),
    ]


def _key_axes(name: str) -> list[ChannelAxis]:
    gate = ChannelAxis(f"{name}.queries.bias", 0, role="gate")
    return [*_writes(f"{name}.keys"), ChannelAxis(f"{name}.queries.weight", 0), gate]


def _head_axes(name: str, layer: ChannelAttention) -> list[ChannelAxis]:
    each = layer.projection.weight.shape[1] // layer.heads
    return [
        ChannelAxis(f"{name}.qkv.weight", 0, repeat=3, each=each),
        ChannelAxis(f"{name}.temperature", 0),
        ChannelAxis(f"{name}.projection.weight", 1, each=each, role="read"),
    ]


def _expanding_axes(network: EmbeddedViT) -> dict[str, list[ChannelAxis]]:
    """What each patch expanding hands on: to the decoder stage above it, or to the head."""
    names = ["expand", *(f"decoder.{index}.expand" for index in range(len(network.decoder)))]
    readers = [*(f"decoder.{index}.linear_below" for index in range(len(network.decoder))), "head"]
    if network.up:  # the finest stage expands nothing
        names.pop()
    axes = {}
    for name, reader in zip(names, readers, strict=False):
        expanding = network.get_submodule(name)
        assert isinstance(expanding, PatchExpanding)
        repeat = expanding.scale**2  # rows read as (row, column, channel)
        axes[name] = [
            *_writes(f"{name}.norm"),
            *_writes(f"{name}.expand", bias=False, repeat=repeat),
            *_reads(reader),
        ]
    return axes


def _convolution_axes(network: EmbeddedViT) -> dict[str, list[ChannelAxis]]:
    """What each convolution stage hands on: on the way down also to the stage of its resolution on the way up."""
    axes, stages = {}, len(network.down)
    for index in range(stages):
        coarser = f"down.{index + 1}.convolution1" if index + 1 < stages else "encoder.0.embedding.projection"
        joining = f"up.{stages - 1 - index}"
        axes[f"down.{index}"] = [
            *_normed(f"down.{index}", 2),
            *_reads(coarser),
            ChannelAxis(f"{joining}.upsampling.weight", 1),
            ChannelAxis(f"{joining}.upsampling.bias", 0),
            *_reads(f"{joining}.convolutions.convolution1", repeat=2),
        ]
        finer = _upsampled(f"up.{index + 1}") if index + 1 < stages else _reads("head")
        axes[f"up.{index}"] = [*_normed(f"up.{index}.convolutions", 2), *finer]
    return axes


def _normed(name: str, number: int) -> list[ChannelAxis]:
    """The rows of a convolution stage's first or second convolution, and its batch norm."""
    norm = f"{name}.norm{number}"
    statistics = [ChannelAxis(f"{norm}.{kept}", 0) for kept in ("running_mean", "running_var")]
    return [*_writes(f"{name}.convolution{number}", bias=False), *_writes(norm), *statistics]


def _upsampled(name: str) -> list[ChannelAxis]:
    """The rows of a transposed convolution, whose weights are (in, out, 2, 2), that read the channels."""
    return [ChannelAxis(f"{name}.upsampling.weight", 0, role="read")]


def _stream_axes(network: EmbeddedViT) -> dict[str, list[ChannelAxis]]:
    """Encoder streams, each with the cross attention that joins it to the features from below, and decoder streams."""
    axes: dict[str, list[ChannelAxis]] = {}
    stages = network.stages
    for index, stage in enumerate(network.encoder):
        assert isinstance(stage, EncoderStage)
        name = f"encoder.{index}"
        axes[name] = [*_writes(f"{name}.embedding.projection"), *_writes(f"{name}.embedding.norm")]
        axes[name] += _blocks_axes(name, stage.blocks)
        axes[name] += _writes(f"{name}.norm")
        if index < stages - 1:
            axes[name] += _reads(f"encoder.{index + 1}.embedding.projection")
            axes[name] += _joining_axes(f"decoder.{stages - 2 - index}")
        else:
            axes[name] += _reads("expand.expand")
    for index, decoder in enumerate(network.decoder):
        assert isinstance(decoder, DecoderStage)
        name = f"decoder.{index}"
        axes[name] = [*_writes(f"{name}.linear_joined"), *_blocks_axes(name, decoder.blocks)]
        axes[name] += _upsampled("up.0") if decoder.expand is None else _reads(f"{name}.expand.expand")
    return axes


def _joining_axes(name: str) -> list[ChannelAxis]:
    """The cross attention of a decoder stage, where skip and upsampled features lie side by side: (2, C)."""
    cross = f"{name}.cross_attention"
    return [
        *_writes(f"{name}.linear_below"),
        ChannelAxis(f"{cross}.norm_inputs.weight", 0, role="read"),  # no weights read its output but products do
        ChannelAxis(f"{cross}.norm_inputs.bias", 0, role="read"),
        *_reads(f"{cross}.reprojection"),
        *_writes(f"{cross}.reprojection", repeat=2),
        *_writes(f"{cross}.norm_attended", repeat=2),
        *_writes(f"{cross}.norm", repeat=2),
        *_reads(f"{cross}.feed_forward.fc1", repeat=2),
        *_writes(f"{cross}.feed_forward.fc2", repeat=2),
        *_reads(f"{name}.linear_joined", repeat=2),
    ]


def _blocks_axes(name: str, blocks: nn.ModuleList) -> list[ChannelAxis]:
    axes: list[ChannelAxis] = []
    for index, block in enumerate(blocks):
        assert isinstance(block, DualBlock)
        inside = f"{name}.blocks.{index}"
        for number in (1, 2, 3, 4):
            axes += _writes(f"{inside}.norm{number}")
        for part in ("keys", "queries", "values"):
            axes += _reads(f"{inside}.attention.{part}")
        axes += _writes(f"{inside}.attention.reprojection")
        axes += _reads(f"{inside}.channel_attention.qkv") + _writes(f"{inside}.channel_attention.projection")
        for part in ("feed_forward1", "feed_forward2"):
            axes += _reads(f"{inside}.{part}.fc1") + _writes(f"{inside}.{part}.fc2")
    return axes
