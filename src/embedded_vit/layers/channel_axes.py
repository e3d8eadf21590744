"""The place of a layer's channels in its tensors, which every layer declares so that channels can be removed.

A channel seldom lies in one tensor. A hidden channel of a feed-forward layer, for example, is a row of fc1, a kernel of
the convolution, an entry of the norm and a column of fc2. A layer declares, relative to itself:

    input_axes()     the axes along which its tensors read the channels of its input
    output_axes()    the axes along which its tensors write the channels of its output
    inner_axes()     its own channels by the name of the submodule whose channels they are ("" is the layer itself)

A stage that adds its blocks to one stream of features declares `stream_axes()` instead of the first two. The network
joins these declarations: what one layer writes, the next one reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["ChannelAxis", "HasInnerAxes", "ScatteredAxis", "inside", "read", "repeated", "written"]

Role = Literal["written", "read", "gate"]


@dataclass(frozen=True)
class ChannelAxis:
    """A dimension of one parameter along which channels lie, read as (repeat, width, each).

    Attributes:
        parameter: The name of the parameter; the statistics of a batch norm count as parameters.
        dimension: The dimension of the parameter.
        repeat: How many times the channels follow each other: 2 in the joined features of a cross attention.
        each: Entries per channel; for a head, the entries of the whole head.
        role: "read" where zeros in place of a channel's weights remove the channel, "gate" where the parameter's
            gradient is that of a factor before the channel in a softmax, "written" everywhere else.
    """

    parameter: str
    dimension: int
    repeat: int = 1
    each: int = 1
    role: Role = "written"

    def by_channel(self, values: Tensor) -> Tensor:
        """Sort a tensor of the parameter's shape by channel: (width, everything else)."""
        values = values.movedim(self.dimension, 0)  # (repeat * width * each, ...)
        values = values.reshape(self.repeat, -1, self.each, values[0].numel())  # (repeat, width, each, rest)
        return values.transpose(0, 1).flatten(1)

    def places(self, length: int, indices: Tensor) -> Tensor:
        """Return where channels lie in a dimension of this length: (repeat * indices * each,)."""
        places = torch.arange(length).reshape(self.repeat, -1, self.each)  # (repeat, width, each)
        return places[:, indices].flatten()


@dataclass(frozen=True)
class ScatteredAxis:
    """A dimension of one parameter along which channels lie anywhere, as a trace of a network finds them.

    Attributes:
        parameter, dimension: As in `ChannelAxis`; buffers count as parameters.
        members: For each channel its places in the dimension, as many for each.
        role: As in `ChannelAxis`.
    """

    parameter: str
    dimension: int
    members: tuple[tuple[int, ...], ...]
    role: Role = "written"

    @property
    def each(self) -> int:
        """Entries per channel."""
        return len(self.members[0])

    def by_channel(self, values: Tensor) -> Tensor:
        """Sort a tensor of the parameter's shape by channel: (width, everything else)."""
        return values.movedim(self.dimension, 0)[torch.tensor(self.members)].flatten(1)  # (width, each * rest)


@runtime_checkable
class HasInnerAxes(Protocol):
    """A layer with channels that no other layer sees."""

    def inner_axes(self) -> dict[str, list[ChannelAxis]]:
        """Declare the layer's own channels; see the module."""
        ...


def written(name: str, *, bias: bool = True) -> list[ChannelAxis]:
    """Return the rows of a linear layer, a convolution or a norm that make the channels."""
    axes = [ChannelAxis(f"{name}.weight", 0)]
    return [*axes, ChannelAxis(f"{name}.bias", 0)] if bias else axes


def read(name: str) -> list[ChannelAxis]:
    """Return the columns of a linear layer or a convolution that read the channels."""
    return [ChannelAxis(f"{name}.weight", 1, role="read")]


def inside(name: str, axes: Iterable[ChannelAxis]) -> list[ChannelAxis]:
    """Return the axes of a submodule under the names that its parent gives them."""
    return [replace(axis, parameter=f"{name}.{axis.parameter}") for axis in axes]


def repeated(axes: Iterable[ChannelAxis], times: int) -> list[ChannelAxis]:
    """Return the axes of a layer that holds the same channels several times in a row."""
    return [replace(axis, repeat=times * axis.repeat) for axis in axes]
