"""The choice of channels to remove: those that matter least for the MACs that they cost."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from embedded_vit.errors import ConfigError
from embedded_vit.models.channels import channel_groups
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.models.registry import NetworkConfig, build_network

__all__ = ["choose_channels", "next_width"]


def next_width(width: int, *, unit: int, multiple: int) -> int | None:
    """Return the width of a group without its next bundle; None where nothing more can go.

    Args:
        width: The present width.
        unit: As `ChannelGroup.unit`; where a unit has more than one channel, a bundle is one unit.
        multiple: For units of one channel: the width that a bundle leaves is a multiple of it, and not 0.
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
    """Choose bundles of channels to remove, each time the one with the least loss per MAC saved, down to `target_macs`.

    What a bundle saves is counted again as the network shrinks. The saving can only fall, so a bundle that is still the
    best with its new count is the best of all.

    Args:
        config: The network.
        importance: Group name -> (width,), see `channel_importance`.
        target_macs: Multiply-accumulates of one image to reach.
        input_channels: Channels of the image.
        multiple: The widths that are left are multiples of this number.
        protected: Groups that lose no channels.
        least: Group name -> the smallest width that it may get, for the groups that have such a limit.

    Returns:
        Group name -> the channels that stay, in ascending order, for the groups that lose any.

    Raises:
        ConfigError: The target cannot be reached.
    """
    network = _Shrinking(config, importance, input_channels, multiple, least or {})
    costs = [(network.cost(name), name) for name in network.groups if name not in protected]
    heapq.heapify(costs)
    while network.macs > target_macs:
        if not costs or costs[0][0] == np.inf:
            raise ConfigError(
                f"prune_channels: a target of {target_macs:,} MACs cannot be reached: {network.macs:,} are left "
                f"at the smallest widths with {len(protected)} groups protected; raise the target"
            )
        name = costs[0][1]
        heapq.heapreplace(costs, (network.cost(name), name))
        if costs[0][1] == name and costs[0][0] < np.inf:
            network.remove_bundle(name)
            heapq.heapreplace(costs, (network.cost(name), name))
    return network.kept()


class _Shrinking:
    """A network with shapes only, no numbers, that loses bundle after bundle."""

    def __init__(
        self,
        config: NetworkConfig,
        importance: Mapping[str, NDArray[np.float64]],
        input_channels: int,
        multiple: int,
        least: Mapping[str, int],
    ) -> None:
        with torch.device("meta"):
            network = build_network(config)
        groups = channel_groups(network)  # refuses a user's own network
        assert isinstance(network, LayeredNetwork)
        self.network: LayeredNetwork = network
        self.image_size, self.input_channels = config.image_size, input_channels
        self.multiple, self.least = multiple, least
        self.groups = {name: group for name, group in groups.items() if name in importance}
        self.tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        self.widths = {name: group.width for name, group in self.groups.items()}
        self.importance = importance
        self.weakest_first = {name: np.argsort(values, kind="stable") for name, values in importance.items()}
        self.macs = self._count()

    def cost(self, name: str) -> float:
        """Return the loss per multiply-accumulate of a group's next bundle; infinite where there is none."""
        width, before = self._next_width(name), self.widths[name]
        if width is None:
            return np.inf
        self._set_width(name, width)
        saved = self.macs - self._count()
        self._set_width(name, before)
        removed = self.groups[name].width - before
        bundle = self.weakest_first[name][removed : removed + before - width]
        return float(self.importance[name][bundle].sum()) / saved if saved > 0 else np.inf

    def remove_bundle(self, name: str) -> None:
        """Remove a group's next bundle."""
        width = self._next_width(name)
        assert width is not None
        self._set_width(name, width)
        self.macs = self._count()

    def kept(self) -> dict[str, list[int]]:
        """Return the remaining channels of every group that has lost any."""
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

    def _set_width(self, name: str, width: int) -> None:
        for axis in self.groups[name].axes:
            tensor = self.tensors[axis.parameter]
            shape = list(tensor.shape)
            shape[axis.dimension] = axis.repeat * width * axis.each
            tensor.data = torch.empty(shape, device="meta")
        self.widths[name] = width

    def _count(self) -> int:
        return self.network.macs(self.image_size, input_channels=self.input_channels)
