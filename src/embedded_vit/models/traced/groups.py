"""The channels of a traced network: which belong together, what they cost, and their removal."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from embedded_vit.layers.channel_axes import ScatteredAxis
from embedded_vit.models.traced.entries import FIXED, Axis
from embedded_vit.models.traced.network import TracedNetwork

__all__ = ["TracedChannels"]

Place = tuple[str, int]  # a tensor and one of its dimensions


class TracedChannels:
    """The channels of a traced network as it is.

    Attributes:
        axes: Name of a group -> its axes. A group is named after the module of its first tensor.
        widths: Name of a group -> number of its channels.
        product_macs: (products,) multiply-accumulates of each convolution and matrix product, of one image.
    """

    def __init__(self, network: TracedNetwork) -> None:
        self._network = network
        self._walk = network.walk()
        members: dict[int, dict[Place, list[int]]] = defaultdict(lambda: defaultdict(list))
        for node in network.graph.nodes:
            if node.op == "get_attr":
                name = str(node.target)
                for dimension, axis in enumerate(self._walk.of(node)):
                    for place, root in enumerate(self._walk.entries.roots(axis).tolist()):
                        if root != FIXED:
                            members[root][name, dimension].append(place)
        alike: dict[tuple[tuple[Place, int], ...], list[int]] = defaultdict(list)
        for root, places in members.items():
            alike[tuple((place, len(found)) for place, found in places.items())].append(root)
        self._roots: dict[str, list[int]] = {}
        self.axes: dict[str, tuple[ScatteredAxis, ...]] = {}
        for signature, roots in alike.items():
            if len(roots) > 1:
                name = self._name(signature)
                self._roots[name] = roots
                self.axes[name] = tuple(self._axis(place, roots, members) for place, _ in signature)
        self.widths = {name: len(roots) for name, roots in self._roots.items()}
        self.product_macs = np.array([product.macs for product in self._walk.products])
        self._product_shares = [self._shares(product.axes) for product in self._walk.products]

    @property
    def unknown_operations(self) -> frozenset[str]:
        """Operations of which nothing is known, so that the channels of their tensors stay."""
        return frozenset(self._walk.unknown)

    def left_alone(self) -> tuple[str, ...]:
        """Return the layers that lose no output channels; the last, which makes the classes, is one of them."""
        free = {(axis.parameter, axis.dimension) for axes in self.axes.values() for axis in axes}
        reads = self._walk.reads
        return tuple(
            name.removesuffix(".weight")
            for name, values in self._network.named_parameters()
            if name.endswith(".weight") and values.ndim > 1 and (name, int((name, 0) in reads)) not in free
        )

    def macs(self, widths: Mapping[str, int]) -> float:
        """Count the multiply-accumulates of one image with other widths.

        Args:
            widths: Name of a group -> number of channels; groups that are left out keep theirs.
        """
        return float(self.product_macs @ self.parts(widths))

    def parts(self, widths: Mapping[str, int]) -> NDArray[np.float64]:
        """Return what is left of each convolution and matrix product with other widths, (products,), in [0, 1].

        Args:
            widths: As `macs`.
        """
        return np.array(
            [
                math.prod(
                    sum(part * widths.get(name, whole) / whole for name, whole, part in share) for share in shares
                )
                for shares in self._product_shares
            ]
        )

    def remove(self, kept: Mapping[str, Sequence[int]]) -> None:
        """Keep some channels of groups and remove the others, in place; this object is of no use afterwards."""
        gone: set[int] = set()
        for name, indices in kept.items():
            roots = self._roots[name]
            gone |= {*roots} - {roots[index] for index in indices}
        self._network.remove(self._walk, gone)

    def _name(self, signature: tuple[tuple[Place, int], ...]) -> str:
        tensors = [tensor for (tensor, _), _ in signature]
        written = [tensor for (tensor, dimension), _ in signature if (tensor, dimension) not in self._walk.reads]
        layers = [tensor for tensor in written if tensor.endswith(".weight")]
        module = (layers or written or tensors)[0].rpartition(".")[0] or tensors[0]
        taken = sum(name == module or name.startswith(f"{module}#") for name in self._roots)
        return f"{module}#{taken + 1}" if taken else module

    def _axis(
        self, place: Place, roots: Sequence[int], members: Mapping[int, Mapping[Place, list[int]]]
    ) -> ScatteredAxis:
        return ScatteredAxis(
            *place,
            members=tuple(tuple(members[root][place]) for root in roots),
            role="read" if place in self._walk.reads else "written",
        )

    def _shares(self, axes: Sequence[Axis]) -> list[list[tuple[str, int, float]]]:
        """Return, for each axis with channels, the groups that it consists of: name, width, share of the axis."""
        group_of = {root: name for name, roots in self._roots.items() for root in roots}
        shares = []
        for axis in axes:
            counts = Counter(group_of.get(root, "") for root in self._walk.entries.roots(axis).tolist())
            if set(counts) != {""}:
                shares.append([(name, self.widths.get(name, 1), count / len(axis)) for name, count in counts.items()])
        return shares
