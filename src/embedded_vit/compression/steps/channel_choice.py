"""Which channels go: those that matter least for the operations that they cost."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from embedded_vit.costs.macs_by_shape import Shapes, macs_by_shape
from embedded_vit.errors import ConfigError
from embedded_vit.models.channels import ChannelGroup, channel_groups
from embedded_vit.models.registry import NetworkConfig, build_network

__all__ = ["choose_channels", "next_width"]


def next_width(width: int, *, unit: int, multiple: int) -> int | None:
    """The width of a group without its next bundle; None where nothing more can go.

    Args:
        width: Now.
        unit: As `ChannelGroup.unit`; where it is more than one channel, a bundle is one of them.
        multiple: Of single channels: a bundle leaves a multiple of it, and at least one of them.
    """
    smaller = width - 1 if unit > 1 else (width - 1) // multiple * multiple
    return smaller if smaller > 0 else None


def choose_channels(
    config: NetworkConfig,
    importance: Mapping[str, NDArray[np.float64]],
    target_macs: int,
    *,
    input_channels: int,
    multiple: int = 8,
    protected: frozenset[str] = frozenset(),
    least: Mapping[str, int] | None = None,
) -> dict[str, list[int]]:
    """Take bundles of channels away, always the one that costs least loss per operation saved, until enough is saved.

    What a bundle saves is counted anew as the network shrinks; it only gets less, so a bundle that still is the best
    with its new count is the best of all.

    Args:
        config: The network.
        importance: Group name -> (width,), see `channel_importance`.
        target_macs: Multiply-accumulates of one image to reach.
        input_channels: Of the image.
        multiple: Of the widths that are left.
        protected: Groups that stay as they are.
        least: Group name -> the width below which it does not go, of the groups that have such a limit.

    Returns:
        Group name -> the channels that stay, in ascending order, for the groups that lose any.

    Raises:
        ConfigError: The target cannot be reached.
    """
    network = _Shrinking(config, importance, input_channels, multiple, least or {})
    costs = [(network.cost(name), name) for name in network.groups if name not in protected]
    heapq.heapify(costs)
    while network.macs() > target_macs:
        if not costs or costs[0][0] == np.inf:
            raise ConfigError(
                f"prune_channels: {target_macs:,} multiply-accumulates cannot be reached: {network.macs():,} are left "
                f"at the smallest widths with {len(protected)} groups protected; raise the target"
            )
        name = costs[0][1]
        heapq.heapreplace(costs, (network.cost(name), name))
        if costs[0][1] == name and costs[0][0] < np.inf:
            network.remove_bundle(name)
            heapq.heapreplace(costs, (network.cost(name), name))
    return network.kept()


class _Shrinking:
    """The widths and shapes of a network that loses bundle after bundle; no numbers."""

    def __init__(
        self,
        config: NetworkConfig,
        importance: Mapping[str, NDArray[np.float64]],
        input_channels: int,
        multiple: int,
        least: Mapping[str, int],
    ) -> None:
        self.image_size, self.input_channels = config.image_size, input_channels
        self.multiple, self.least = multiple, least
        with torch.device("meta"):
            network = build_network(config)
        self.groups = {name: group for name, group in channel_groups(network).items() if name in importance}
        self.shapes: Shapes = {name: values.shape for name, values in network.state_dict().items()}
        self.widths = {name: group.width for name, group in self.groups.items()}
        self.importance = importance
        self.weakest_first = {name: np.argsort(values, kind="stable") for name, values in importance.items()}

    def macs(self) -> int:
        return self._count(self.shapes)

    def cost(self, name: str) -> float:
        """Loss per multiply-accumulate of a group's next bundle; infinite where there is none."""
        width = self._next_width(name)
        if width is None:
            return np.inf
        removed = self.groups[name].width - self.widths[name]
        bundle = self.weakest_first[name][removed : removed + self.widths[name] - width]
        saved = self.macs() - self._count(_with_width(self.shapes, self.groups[name], width))
        return float(self.importance[name][bundle].sum()) / saved if saved > 0 else np.inf

    def remove_bundle(self, name: str) -> None:
        width = self._next_width(name)
        assert width is not None
        self.widths[name] = width
        self.shapes = _with_width(self.shapes, self.groups[name], width)

    def kept(self) -> dict[str, list[int]]:
        return {
            name: sorted(self.weakest_first[name][group.width - self.widths[name] :].tolist())
            for name, group in self.groups.items()
            if self.widths[name] < group.width
        }

    def _next_width(self, name: str) -> int | None:
        width = self.widths[name]
        smaller = next_width(width, unit=self.groups[name].unit, multiple=self.multiple) or 0
        smaller = max(smaller, self.least.get(name, 0))
        return smaller if 0 < smaller < width else None

    def _count(self, shapes: Shapes) -> int:
        return macs_by_shape(shapes, self.image_size, input_channels=self.input_channels)


def _with_width(shapes: Shapes, group: ChannelGroup, width: int) -> Shapes:
    """The shapes of all parameters, those of one group for another width."""
    changed = dict(shapes)
    for axis in group.axes:
        shape = list(changed[axis.parameter])
        shape[axis.dimension] = axis.repeat * width * axis.each
        changed[axis.parameter] = shape
    return changed
