"""The numbers in a graph that follow when channels are removed: sizes of reshapes, places of slices, groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from embedded_vit.models.traced.entries import Axis
from embedded_vit.models.traced.rules import argument, is_depthwise, set_argument
from embedded_vit.models.traced.walk import Walk, operation

__all__ = ["rewrite"]

Kept = Callable[[Axis], NDArray[np.bool_]]  # which entries of an axis are left


def rewrite(graph: fx.Graph, walk: Walk, kept: Kept) -> None:
    """Change the numbers of a graph whose tensors lose entries.

    Args:
        graph: Changed in place.
        walk: Its axes before.
        kept: Tells which entries of an axis are left.
    """

    def count(axis: Axis) -> int:
        return int(kept(axis).sum())

    for node in graph.nodes:
        if node.op != "call_function" or node not in walk.axes:
            continue
        name = operation(node)
        if name in ("view", "reshape", "_unsafe_view", "expand", "broadcast_to"):
            set_argument(node, 1, _sizes(node.args[1], [count(axis) for axis in walk.of(node)]))
        elif name == "unflatten":
            first = int(node.args[1]) % len(walk.of(node.args[0]))
            made = walk.of(node)[first : first + len(node.args[2])]
            set_argument(node, 2, _sizes(node.args[2], [count(axis) for axis in made]))
        elif name in ("split", "split_with_sizes", "chunk", "tensor_split"):
            along = argument(node, 2, "dim", 0) % len(walk.of(node.args[0]))
            sizes = [count(part[along]) for part in walk.axes[node]]
            node.target = torch.ops.aten.split_with_sizes.default
            node.args, node.kwargs = (node.args[0], sizes, along), {}
        elif name == "slice":
            _rewrite_slice(node, walk, kept)
        elif name in ("layer_norm", "rms_norm"):
            lengths = [count(axis) for axis in walk.of(node)]
            set_argument(node, 1, lengths[-len(node.args[1]) :])
        elif name in ("conv1d", "conv2d", "conv3d") and is_depthwise(
            walk.shape(node.args[1]), argument(node, 6, "groups", 1)
        ):
            set_argument(node, 6, count(walk.of(node)[1]))


def _sizes(given: Any, lengths: list[int]) -> list[Any]:
    """Return the sizes of a reshape: -1 and what is computed from the batch stay as they are."""
    whole = [isinstance(size, int) and size != -1 for size in given]
    return [length if fixed else size for size, length, fixed in zip(given, lengths, whole, strict=True)]


def _rewrite_slice(node: fx.Node, walk: Walk, kept: Kept) -> None:
    axes = walk.of(node.args[0])
    along = argument(node, 1, "dim", 0) % len(axes)
    left = kept(axes[along])
    if argument(node, 4, "step", 1) != 1 or left.all():
        return
    start, end, _ = slice(argument(node, 2, "start"), argument(node, 3, "end")).indices(len(left))
    node.args = (node.args[0], along, int(left[:start].sum()), int(left[:end].sum()))
