"""What operations that only move numbers do to the axes of their tensors: reshapes, permutations, slices, joins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from torch import fx

from embedded_vit.models.traced.rules import argument
from embedded_vit.models.traced.walk import Axes, Rules, Walk

__all__ = ["MOVING"]

MOVING = Rules()


@MOVING.of("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as")
def _reshape(walk: Walk, node: fx.Node) -> Axes:
    return _reshaped(walk, walk.of(node.args[0]), walk.shape(node))


def _reshaped(walk: Walk, before: Axes, shape: Sequence[int]) -> Axes:
    """Return the axes of the same numbers in another shape.

    Both shapes are cut where their products agree. Between two cuts, axes are split into factors that both shapes
    share, and factors are put together to the new axes.
    """
    after = [walk.entries.fresh(length) for length in shape]
    ends = [_ends([len(axis) for axis in before]), _ends(shape)]
    cuts = sorted({1} | set(ends[0]) | set(ends[1]))
    if any(higher % lower for lower, higher in pairwise(cuts)):  # no common factors: all stays
        for axis in (*before, *after):
            walk.entries.fix(axis)
        return after
    steps = [walk.entries.fresh(higher // lower) for lower, higher in pairwise(cuts)]
    for axes, found in ((before, ends[0]), (after, ends[1])):
        start = 1
        for axis, end in zip(axes[::-1], found, strict=True):  # from the last axis, which runs fastest
            inside = [step for step, cut in zip(steps, cuts, strict=False) if start <= cut < end]
            if inside:
                walk.entries.tie(axis, inside[::-1])
            start = end
    return after


def _ends(shape: Sequence[int]) -> list[int]:
    """Return the products of the last 1, 2, ... lengths."""
    return np.cumprod(np.array(shape[::-1], np.int64)).tolist() if len(shape) else []


@MOVING.of("permute", "transpose", "t", "movedim", "swapaxes")
def _permutation(walk: Walk, node: fx.Node) -> Axes:
    axes = walk.of(node.args[0])
    name = str(node.target)
    if "permute" in name:
        order = [place % len(axes) for place in argument(node, 1, "dims")]
    else:
        order = list(range(len(axes)))
        first, second = (0, len(axes) - 1) if ".t." in name else (node.args[1], node.args[2])
        if not isinstance(first, int) or not isinstance(second, int):  # movedim of several
            return _all_stay(walk, node)
        if "movedim" in name:
            order.insert(second % len(axes), order.pop(first % len(axes)))
        else:
            order[first], order[second] = order[second], order[first]
    return [axes[place] for place in order]


@MOVING.of("unsqueeze", "squeeze")
def _ones(walk: Walk, node: fx.Node) -> Axes:
    """Add or remove axes of length 1."""
    kept = iter([axis for axis in walk.of(node.args[0]) if len(axis) > 1])
    return [walk.entries.fixed(1) if length == 1 else next(kept) for length in walk.shape(node)]


@MOVING.of("expand", "repeat", "tile", "broadcast_to")
def _repetition(walk: Walk, node: fx.Node) -> Axes:
    axes = walk.of(node.args[0])
    made = walk.fixed(node)
    for place in range(1, len(axes) + 1):
        if len(axes[-place]) == len(made[-place]):
            made[-place] = axes[-place]
        elif len(axes[-place]) > 1:  # repeated: which copy an entry belongs to is not kept
            walk.entries.fix(axes[-place])
    return made


@MOVING.of("cat", "concat")
def _join(walk: Walk, node: fx.Node) -> Axes:
    tensors: Any = node.args[0]
    along = argument(node, 1, "dim", 0) % len(walk.shape(node))
    first = walk.of(tensors[0])
    for tensor in tensors[1:]:
        for place, axis in enumerate(walk.of(tensor)):
            if place != along:
                walk.entries.unite(first[place], axis)
    joined = np.concatenate([walk.of(tensor)[along] for tensor in tensors])
    return [*first[:along], joined, *first[along + 1 :]]


@MOVING.of("stack")
def _stack(walk: Walk, node: fx.Node) -> Axes:
    tensors: Any = node.args[0]
    along = argument(node, 1, "dim", 0) % len(walk.shape(node))
    first = walk.of(tensors[0])
    for tensor in tensors[1:]:
        for one, other in zip(first, walk.of(tensor), strict=True):
            walk.entries.unite(one, other)
    return [*first[:along], walk.entries.fixed(len(tensors)), *first[along:]]


@MOVING.of("split", "split_with_sizes", "chunk", "tensor_split")
def _split(walk: Walk, node: fx.Node) -> list[Axes]:
    axes = walk.of(node.args[0])
    along = argument(node, 2, "dim", 0) % len(axes)
    parts, start = [], 0
    for shape in node.meta["shape"]:
        part = axes[along][start : start + shape[along]]
        parts.append([*axes[:along], part, *axes[along + 1 :]])
        start += shape[along]
    return parts


@MOVING.of("unbind")
def _unbind(walk: Walk, node: fx.Node) -> list[Axes]:
    axes = walk.of(node.args[0])
    along = argument(node, 1, "dim", 0) % len(axes)
    walk.entries.fix(axes[along])
    return [[*axes[:along], *axes[along + 1 :]] for _ in node.meta["shape"]]


@MOVING.of("<built-in function getitem>")
def _item(walk: Walk, node: fx.Node) -> Axes:
    axes: Axes = walk.axes[node.args[0]][node.args[1]]  # type: ignore[index]
    return axes


@MOVING.of("select")
def _select(walk: Walk, node: fx.Node) -> Axes:
    axes = walk.of(node.args[0])
    along = argument(node, 1, "dim", 0) % len(axes)
    walk.entries.fix(axes[along])
    return [*axes[:along], *axes[along + 1 :]]


@MOVING.of("slice", "narrow")
def _slice(walk: Walk, node: fx.Node) -> Axes:
    axes = list(walk.of(node.args[0]))
    along = argument(node, 1, "dim", 0) % len(axes)
    step = argument(node, 4, "step", 1) if "slice" in str(node.target) else 1
    length = walk.shape(node)[along]
    if step != 1:
        if walk.entries.is_free(axes[along]):
            walk.entries.fix(axes[along])
        axes[along] = walk.entries.fixed(length)
    elif length != len(axes[along]):
        start = argument(node, 2, "start", 0) or 0
        axes[along] = axes[along][start:][:length] if start >= 0 else axes[along][start:]
    return axes


@MOVING.of("index")
def _index(walk: Walk, node: fx.Node) -> Axes:
    """Look up rows, as of a table of relative positions: the first axes are indexed, the others stay as they are."""
    places: Any = node.args[1]
    axes = walk.of(node.args[0])
    if any(place is None for place in places):
        return _all_stay(walk, node)
    for tensor in (node.args[0], *places):
        for axis in walk.of(tensor)[: len(places)] if tensor is node.args[0] else walk.of(tensor):
            walk.entries.fix(axis)
    rest = axes[len(places) :]
    return [*walk.fixed(node)[: len(walk.shape(node)) - len(rest)], *rest]


@MOVING.of("embedding")
def _embedding(walk: Walk, node: fx.Node) -> Axes:
    rows, features = walk.of(node.args[0])
    walk.entries.fix(rows)
    return [*walk.fixed(node)[:-1], features]


@MOVING.of("index_select")
def _index_select(walk: Walk, node: fx.Node) -> Axes:
    axes = list(walk.of(node.args[0]))
    along = argument(node, 1, "dim", 0) % len(axes)
    walk.entries.fix(axes[along])
    axes[along] = walk.entries.fixed(walk.shape(node)[along])
    return axes


@MOVING.of("pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d")
def _pad(walk: Walk, node: fx.Node) -> Axes:
    axes, made = walk.of(node.args[0]), walk.fixed(node)
    for place, axis in enumerate(axes):
        if len(axis) == len(made[place]):
            made[place] = axis
        else:
            walk.entries.fix(axis)
    return made


@MOVING.of("roll", "flip")
def _turned(walk: Walk, node: fx.Node) -> Axes:
    axes = walk.of(node.args[0])
    dimensions: Any = argument(node, 2 if "roll" in str(node.target) else 1, "dims", ())
    for place in dimensions or range(len(axes)):
        walk.entries.fix(axes[place])
    return axes


@MOVING.of("channel_shuffle")
def _channel_shuffle(walk: Walk, node: fx.Node) -> Axes:
    batch, channels, *rest = walk.of(node.args[0])
    groups = int(node.args[1])  # type: ignore[arg-type]
    walk.alike(channels, groups)
    return [batch, channels.reshape(groups, -1).T.ravel(), *rest]


@MOVING.of("pixel_shuffle", "pixel_unshuffle")
def _pixel_shuffle(walk: Walk, node: fx.Node) -> Axes:
    """Move the pixels of a square between channels that follow each other, and rows and columns."""
    batch, channels, *_ = walk.of(node.args[0])
    made = walk.entries.fresh(walk.shape(node)[1])
    many, few = (channels, made) if len(channels) > len(made) else (made, channels)
    walk.entries.tie(many, [few, walk.entries.fixed(len(many) // len(few))])
    return [batch, made, *walk.fixed(node)[2:]]


@MOVING.of(
    "arange", "full", "zeros", "ones", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"
)
def _made_here(walk: Walk, node: fx.Node) -> Axes:
    """Constants of the graph: a tensor like another one has its axes."""
    if str(node.target).endswith("_like.default"):
        return walk.of(node.args[0])
    return walk.fixed(node)


def _all_stay(walk: Walk, node: fx.Node) -> Axes:
    for tensor in node.all_input_nodes:
        for axis in walk.of(tensor) if walk.is_tensor(tensor) else []:
            walk.entries.fix(axis)
    return walk.fixed(node)
