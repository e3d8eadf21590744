"""The choice of channels to remove: those that matter least for what they cost, in MACs or in measured milliseconds."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from embedded_vit.counted import counted
from embedded_vit.errors import ConfigError
from embedded_vit.layers.channel_axes import ChannelAxis
from embedded_vit.models.channels import ChannelGroup, channel_groups, traced_groups
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.models.registry import NetworkConfig, build_network
from embedded_vit.models.traced.groups import TracedChannels
from embedded_vit.models.traced.network import TracedNetwork

__all__ = [
    "Cost",
    "Prunable",
    "Shrinkable",
    "choose_channels",
    "macs_cost",
    "next_width",
    "saves_anything",
    "shrinkable",
]

Prunable: TypeAlias = LayeredNetwork | TracedNetwork

LEAST_SAVING = 0.002  # of the whole cost, by all channels of a group: what a table of latencies says below is its noise


@dataclass(frozen=True)
class Cost:
    """What a network costs, which decides the order in which channels go.

    Attributes:
        of: Counts a network.
        unit: Of the result, for messages.
        multiple: The widths that are left are multiples of this number.
        whole_blocks: Whether the channels of the heads that are left are a multiple, too, and a bundle must save
            something that can be measured.
        of_widths: Counts a traced network by the widths of its groups; None for its multiply-accumulates.
    """

    of: Callable[[Prunable], float]
    unit: str
    multiple: int = 8
    whole_blocks: bool = False
    of_widths: Callable[[Mapping[str, int]], float] | None = None

    def text(self, amount: float) -> str:
        """Return an amount with its unit."""
        return f"{amount:,.2f} {self.unit}" if self.whole_blocks else f"{amount:,.0f} {self.unit}"


def macs_cost(image_size: int, *, input_channels: int, multiple: int = 8) -> Cost:
    """Return the multiply-accumulates of one image as the cost; multiples as in `Cost`."""
    return Cost(lambda network: network.macs(image_size, input_channels=input_channels), "MACs", multiple)


def next_width(width: int, *, unit: int, multiple: int, whole_blocks: bool = False) -> int | None:
    """Return the width of a group without its next bundle; None where nothing more can go.

    Args:
        width: The present width.
        unit: As `ChannelGroup.unit`; where a unit has more than one channel, a bundle is one unit.
        multiple: For units of one channel: the width that a bundle leaves is a multiple of it, and not 0.
        whole_blocks: Whether the channels of several units are such a multiple, too; a bundle may be several units.
    """
    if unit == 1:
        smaller = (width - 1) // multiple * multiple
    else:
        smaller = width - 1
        while whole_blocks and smaller * unit % multiple:
            smaller -= 1
    return smaller if smaller > 0 else None


class Shrinkable(Protocol):
    """A network with shapes only, no numbers, that loses channels to see what it then costs."""

    @property
    def groups(self) -> Mapping[str, ChannelGroup]:
        """The groups of channels as they were at first."""
        ...

    def cost(self) -> float:
        """Return its present cost."""
        ...

    def set_width(self, name: str, width: int) -> None:
        """Give a group as many channels."""
        ...


def shrinkable(network: Prunable, config: NetworkConfig, cost: Cost) -> Shrinkable:
    """Return a network's shapes.

    Args:
        network: The network.
        config: From which it is built.
        cost: What counts.
    """
    return ShrinkingGraph(network, cost) if isinstance(network, TracedNetwork) else ShrinkingNetwork(config, cost)


class ShrinkingNetwork:
    """The shapes of a network of this package."""

    def __init__(self, config: NetworkConfig, cost: Cost) -> None:
        with torch.device("meta"):
            network = build_network(config)
        assert isinstance(network, LayeredNetwork)
        self.groups = channel_groups(network)
        self._network, self._counted = network, cost
        self._tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}

    def cost(self) -> float:
        """Return its present cost."""
        return self._counted.of(self._network)

    def set_width(self, name: str, width: int) -> None:
        """Give a group as many channels."""
        for axis in self.groups[name].axes:
            assert isinstance(axis, ChannelAxis)
            tensor = self._tensors[axis.parameter]
            shape = list(tensor.shape)
            shape[axis.dimension] = axis.repeat * width * axis.each
            tensor.data = torch.empty(shape, device="meta")


class ShrinkingGraph:
    """The shapes of a traced network, whose cost follows from the widths of its groups."""

    def __init__(self, network: TracedNetwork, cost: Cost) -> None:
        self._channels = TracedChannels(network)
        self._cost_of = cost.of_widths or self._channels.macs
        self.groups = traced_groups(self._channels)
        self._widths = {name: group.width for name, group in self.groups.items()}

    def cost(self) -> float:
        """Return its present cost."""
        return self._cost_of(self._widths)

    def set_width(self, name: str, width: int) -> None:
        """Give a group as many channels."""
        self._widths[name] = width


def choose_channels(
    shapes: Shrinkable,
    importance: Mapping[str, NDArray[np.float64]],
    target: float,
    cost: Cost,
    *,
    protected: frozenset[str] = frozenset(),
    least: Mapping[str, int] | None = None,
) -> dict[str, list[int]]:
    """Choose bundles of channels to remove, each time the one with the least loss for what it saves, down to a target.

    What a bundle saves is counted again as the network shrinks. The saving can only fall, so a bundle that is still the
    best with its new count is the best of all. A bundle that saves nothing stays.

    Args:
        shapes: The network; it shrinks.
        importance: Group name -> (width,), see `channel_importance`.
        target: The cost of the network to reach.
        cost: What counts.
        protected: Groups that lose no channels.
        least: Group name -> the smallest width that it may get, for the groups that have such a limit.

    Returns:
        Group name -> the channels that stay, in ascending order, for the groups that lose any.

    Raises:
        ConfigError: The target cannot be reached.
    """
    network = _Shrinking(shapes, importance, cost, least or {})
    costs = [(network.cost(name), name) for name in network.groups if name not in protected]
    heapq.heapify(costs)
    while network.total > target:
        if not costs or costs[0][0] == np.inf:
            raise ConfigError(
                f"prune_channels: a target of {cost.text(target)} cannot be reached: {cost.text(network.total)} are "
                f"left at the smallest widths with {counted(len(protected), 'group')} protected; raise the target"
            )
        name = costs[0][1]
        heapq.heapreplace(costs, (network.cost(name), name))
        if costs[0][1] == name and costs[0][0] < np.inf:
            network.remove_bundle(name)
            heapq.heapreplace(costs, (network.cost(name), name))
    return network.kept()


def saves_anything(shapes: Shrinkable, cost: Cost, *, protected: frozenset[str] = frozenset()) -> bool:
    """Tell whether a network has any bundle of channels whose removal saves something."""
    importance = {name: np.zeros(group.width) for name, group in shapes.groups.items()}
    network = _Shrinking(shapes, importance, cost, {})
    return any(network.cost(name) < np.inf for name in shapes.groups if name not in protected)


class _Shrinking:
    """A network that loses bundle after bundle."""

    def __init__(
        self,
        shapes: Shrinkable,
        importance: Mapping[str, NDArray[np.float64]],
        cost: Cost,
        least: Mapping[str, int],
    ) -> None:
        self.shapes, self.counted, self.least = shapes, cost, least
        self.groups = {name: group for name, group in shapes.groups.items() if name in importance}
        self.widths = {name: group.width for name, group in self.groups.items()}
        self.importance = importance
        self.weakest_first = {name: np.argsort(values, kind="stable") for name, values in importance.items()}
        self.total = shapes.cost()
        self.least_saving = LEAST_SAVING * self.total if cost.whole_blocks else 0.0

    def cost(self, name: str) -> float:
        """Return the loss for what a group's next bundle saves; infinite where there is none, or it saves nothing."""
        width, before = self._next_width(name), self.widths[name]
        if width is None:
            return np.inf
        self._set_width(name, width)
        saved = self.total - self.shapes.cost()
        self._set_width(name, before)
        removed = self.groups[name].width - before
        bundle = self.weakest_first[name][removed : removed + before - width]
        least_saving = self.least_saving * (before - width) / self.groups[name].width
        return float(self.importance[name][bundle].sum()) / saved if saved > least_saving else np.inf

    def remove_bundle(self, name: str) -> None:
        """Remove a group's next bundle."""
        width = self._next_width(name)
        assert width is not None
        self._set_width(name, width)
        self.total = self.shapes.cost()

    def kept(self) -> dict[str, list[int]]:
        """Return the remaining channels of every group that has lost any."""
        return {
            name: sorted(self.weakest_first[name][group.width - self.widths[name] :].tolist())
            for name, group in self.groups.items()
            if self.widths[name] < group.width
        }

    def _next_width(self, name: str) -> int | None:
        width = self.widths[name]
        unit, cost = self.groups[name].unit, self.counted
        smaller = next_width(width, unit=unit, multiple=cost.multiple, whole_blocks=cost.whole_blocks) or 0
        smaller = max(smaller, self.least.get(name, 0))
        return smaller if self.groups[name].least <= smaller < width else None

    def _set_width(self, name: str, width: int) -> None:
        self.shapes.set_width(name, width)
        self.widths[name] = width
