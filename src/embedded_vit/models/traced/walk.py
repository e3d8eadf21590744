"""One pass over a graph that says what every operation does to the axes of its tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from embedded_vit.models.traced.entries import Axis, Entries

__all__ = ["Axes", "Product", "Rules", "Walk", "operation"]

Axes = list[Axis]  # of one tensor
Rule = Callable[["Walk", fx.Node], Any]


@dataclass(frozen=True)
class Product:
    """A convolution or a matrix product.

    Attributes:
        macs: Multiply-accumulates of one image.
        axes: Their number is proportional to the number of entries of each of these.
    """

    macs: float
    axes: tuple[Axis, ...]


class Rules(dict[str, Rule]):
    """Name of an operation of ATen -> what it does to axes: a function that returns those of its result."""

    def of(self, *names: str) -> Callable[[Rule], Rule]:
        """Register a function as the rule of operations."""

        def register(function: Rule) -> Rule:
            self.update(dict.fromkeys(names, function))
            return function

        return register


def operation(node: fx.Node) -> str:
    """Return the name of a node's operation, without library and overload: `conv2d` for `aten.conv2d.default`."""
    target = str(node.target)
    return target.split(".")[1].removesuffix("_") if target.startswith("aten.") else target


class Walk:
    """The axes of all tensors of a graph.

    Args:
        graph: Its nodes know the shapes of their tensors (`shape` in their `meta`).
        batch: Images in the input that gave these shapes.
        rules: What each operation does.

    Attributes:
        entries: Which entries of axes belong together.
        axes: Of every node: those of its tensor, or of each of its tensors.
        products: The convolutions and matrix products.
        reads: Parameter and dimension of the weights that read channels.
        unknown: Operations without a rule; their tensors keep all entries.
    """

    def __init__(self, graph: fx.Graph, batch: int, rules: Mapping[str, Rule]) -> None:
        self.entries = Entries()
        self.axes: dict[fx.Node, Any] = {}
        self.products: list[Product] = []
        self.reads: set[tuple[str, int]] = set()
        self.unknown: set[str] = set()
        self._batch, self._rules = batch, rules
        self._constant: set[fx.Node] = set()
        for node in graph.nodes:
            self._visit(node)
        self.entries.settle()

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Return the shape of a node's tensor."""
        shape: tuple[int, ...] = node.meta["shape"]
        return shape

    def of(self, node: Any) -> Axes:
        """Return the axes of an argument that is a tensor."""
        axes: Axes = self.axes[node]
        return axes

    def is_tensor(self, argument: Any) -> bool:
        """Whether an argument is the tensor of another node."""
        return isinstance(argument, fx.Node) and isinstance(argument.meta.get("shape"), tuple)

    def is_constant(self, node: Any) -> bool:
        """Whether a tensor does not depend on the image."""
        return node in self._constant

    def new(self, node: fx.Node) -> Axes:
        """Return new axes for what a node makes."""
        return [self.entries.fresh(length) for length in self.shape(node)]

    def fixed(self, node: fx.Node) -> Axes:
        """Return axes for what a node makes, all of whose entries stay."""
        return [self.entries.fixed(length) for length in self.shape(node)]

    def broadcast(self, node: fx.Node, tensors: Sequence[Any]) -> Axes:
        """Tie the axes of tensors that an operation takes entry by entry; return those of its result."""
        result: Axes = []
        for place in range(1, len(self.shape(node)) + 1):
            length = self.shape(node)[-place]
            met = [self.of(tensor)[-place] for tensor in tensors if len(self.of(tensor)) >= place]
            full = [axis for axis in met if len(axis) == length]
            for axis in full[1:]:
                self.entries.unite(full[0], axis)
            result.append(full[0] if full else self.entries.fixed(length))
        return result[::-1]

    def alike(self, axis: Axis, groups: int) -> Axis:
        """Let all groups of an axis lose the same entries, so that each has as many; return the first group."""
        first, *others = np.split(axis, groups)
        for other in others:
            self.entries.unite(first, other)
        return first

    def multiply(self, macs: float, axes: Sequence[Axis]) -> None:
        """Note a convolution or a matrix product: its multiply-accumulates for the whole batch."""
        self.products.append(Product(macs / self._batch, tuple(axes)))

    def read(self, weight: fx.Node, dimension: int) -> None:
        """Note that a parameter's dimension reads channels."""
        if weight.op == "get_attr":
            self.reads.add((str(weight.target), dimension % len(self.shape(weight))))

    def _visit(self, node: fx.Node) -> None:
        tensors = [argument for argument in node.all_input_nodes if argument in self.axes]
        if node.op == "get_attr":
            self._constant.add(node)
            self.axes[node] = self.new(node)
        elif node.op == "placeholder":
            self.axes[node] = self.fixed(node)
        elif node.op == "output":
            self._fix(tensors)
        elif "shape" in node.meta:
            if tensors and all(tensor in self._constant for tensor in tensors):
                self._constant.add(node)
            found = self._rules.get(operation(node))
            if found is None:
                self.unknown.add(operation(node))
                self._fix(tensors)
                self.axes[node] = self._all_fixed(node.meta["shape"])
            else:
                self.axes[node] = found(self, node)

    def _fix(self, nodes: Sequence[fx.Node]) -> None:
        for node in nodes:
            for axis in _flat(self.axes[node]):
                self.entries.fix(axis)

    def _all_fixed(self, shape: Any) -> Any:
        if isinstance(shape, list):  # several tensors
            return [self._all_fixed(each) for each in shape]
        return [self.entries.fixed(length) for length in shape]

    def numel(self, node: fx.Node) -> int:
        """Return the number of entries of a node's tensor."""
        return math.prod(self.shape(node))


def _flat(axes: Any) -> Axes:
    return [axis for each in axes for axis in (_flat(each) if isinstance(each, list) else [each])]
