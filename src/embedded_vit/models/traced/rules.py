"""What operations that compute do to the axes of their tensors: sums, convolutions, matrix products, norms.

Every function here is the rule of the operations that it is registered for: it ties axes to each other, and returns
those of the result. Tensors of images are (B, C, rows, columns).
"""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from embedded_vit.models.traced.walk import Axes, Rules, Walk

__all__ = ["COMPUTING", "argument", "is_depthwise", "put_by_place", "set_argument"]

COMPUTING = Rules()

ENTRY_BY_ENTRY = (
    *("add", "sub", "rsub", "mul", "div", "pow", "neg", "exp", "log", "sqrt", "rsqrt", "abs", "square", "reciprocal"),
    *("maximum", "minimum", "clamp", "clamp_min", "clamp_max", "where", "masked_fill", "expand_as", "lerp", "erf"),
    *(
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "gelu",
        "silu",
        "mish",
        "sigmoid",
        "tanh",
        "softplus",
        "hardswish",
    ),
    *("hardsigmoid", "hardtanh", "softmax", "log_softmax", "dropout", "feature_dropout", "alpha_dropout", "contiguous"),
    *("clone", "detach", "alias", "to", "_to_copy", "type_as", "float", "lift_fresh_copy"),
    *("eq", "ne", "lt", "gt", "le", "ge", "logical_not", "logical_and", "logical_or"),
)


def argument(node: fx.Node, place: int, name: str, default: Any = None) -> Any:
    """Return an argument of a node, however it was given."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def set_argument(node: fx.Node, place: int, value: Any) -> None:
    """Replace an argument that a node has at its place; see `put_by_place`."""
    assert len(node.args) > place, node
    node.args = (*node.args[:place], value, *node.args[place + 1 :])


def put_by_place(node: fx.Node) -> None:
    """Give a node the arguments at their places that it has by their names, so that the rules find them there.

    What lies between is given its default. Arguments that have no place stay where they are.
    """
    schema = getattr(node.target, "_schema", None)
    if schema is None or not node.kwargs:
        return
    placed = [each for each in schema.arguments if not each.kwarg_only]
    named = [place for place, each in enumerate(placed) if each.name in node.kwargs]
    args, kwargs = list(node.args), dict(node.kwargs)
    for each in placed[len(args) : max(named, default=-1) + 1]:
        args.append(kwargs.pop(each.name, each.default_value))
    node.args, node.kwargs = tuple(args), kwargs


@COMPUTING.of(*ENTRY_BY_ENTRY)
def _entry_by_entry(walk: Walk, node: fx.Node) -> Axes:
    return walk.broadcast(node, [tensor for tensor in node.all_input_nodes if walk.is_tensor(tensor)])


def is_depthwise(weight_shape: tuple[int, ...], groups: int) -> bool:
    """Whether a convolution with a weight of this shape, (out, in / groups, ...), treats every channel alone."""
    return groups > 1 and weight_shape[1] == 1 and weight_shape[0] == groups


@COMPUTING.of("conv1d", "conv2d", "conv3d")
def _convolution(walk: Walk, node: fx.Node) -> Axes:
    image, weight, bias = node.args[0], node.args[1], argument(node, 2, "bias")
    groups = argument(node, 6, "groups", 1)
    inputs, (out, read, *kernel) = walk.of(image), walk.of(weight)
    for axis in kernel:
        walk.entries.fix(axis)
    if groups == 1:
        walk.entries.unite(inputs[1], read)
        walk.read(weight, 1)  # type: ignore[arg-type]
    elif is_depthwise(walk.shape(weight), groups):  # type: ignore[arg-type]
        walk.entries.unite(inputs[1], out)
    else:
        walk.entries.unite(read, walk.alike(inputs[1], groups))
        walk.read(weight, 1)  # type: ignore[arg-type]
        walk.alike(out, groups)
    if walk.is_tensor(bias):
        walk.entries.unite(out, walk.of(bias)[0])
    taps = math.prod(walk.shape(weight)[1:])  # type: ignore[arg-type]
    walk.multiply(walk.numel(node) * taps, [out, read])
    return [inputs[0], out, *walk.fixed(node)[2:]]


@COMPUTING.of("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed_convolution(walk: Walk, node: fx.Node) -> Axes:
    image, weight, bias = node.args[0], node.args[1], argument(node, 2, "bias")
    inputs, (read, out, *kernel) = walk.of(image), walk.of(weight)
    for axis in kernel:
        walk.entries.fix(axis)
    walk.entries.unite(inputs[1], read)
    made = walk.new(node)[1]
    if argument(node, 6, "groups", 1) == 1:
        walk.entries.unite(made, out)
        walk.read(weight, 0)  # type: ignore[arg-type]
    else:
        for axis in (read, out, made):
            walk.entries.fix(axis)
    if walk.is_tensor(bias):
        walk.entries.unite(made, walk.of(bias)[0])
    taps = math.prod(walk.shape(weight)[1:])  # type: ignore[arg-type]
    walk.multiply(walk.numel(image) * taps, [read, made])  # type: ignore[arg-type]
    return [inputs[0], made, *walk.fixed(node)[2:]]


@COMPUTING.of("linear")
def _linear(walk: Walk, node: fx.Node) -> Axes:
    features, weight, bias = node.args[0], node.args[1], argument(node, 2, "bias")
    *leading, read_axis = walk.of(features)
    out, read = walk.of(weight)
    walk.entries.unite(read_axis, read)
    walk.read(weight, 1)  # type: ignore[arg-type]
    if walk.is_tensor(bias):
        walk.entries.unite(out, walk.of(bias)[0])
    walk.multiply(walk.numel(features) * len(out), [*leading, read, out])  # type: ignore[arg-type]
    return [*leading, out]


@COMPUTING.of("addmm", "baddbmm")
def _product_and_sum(walk: Walk, node: fx.Node) -> Axes:
    made = _product(walk, node, node.args[1], node.args[2])
    added = walk.of(node.args[0])
    for one, other in zip(made[::-1], added[::-1], strict=False):
        if len(one) == len(other):
            walk.entries.unite(one, other)
    return made


@COMPUTING.of("matmul", "mm", "bmm")
def _matrix_product(walk: Walk, node: fx.Node) -> Axes:
    return _product(walk, node, node.args[0], node.args[1])


def _product(walk: Walk, node: fx.Node, left: Any, right: Any) -> Axes:
    """Multiply (..., M, N) by (..., N, P); a factor of one axis is a vector."""
    first, second = walk.of(left), walk.of(right)
    inner = second[-2] if len(second) > 1 else second[-1]
    walk.entries.unite(first[-1], inner)
    ends = ([first[-2]] if len(first) > 1 else []) + ([second[-1]] if len(second) > 1 else [])
    leading = []
    count = len(walk.shape(node)) - len(ends)
    for place in range(count, 0, -1):
        met = [axes[-2 - place] for axes in (first, second) if len(axes) >= 2 + place]
        full = [axis for axis in met if len(axis) == walk.shape(node)[count - place]]
        for axis in full[1:]:
            walk.entries.unite(full[0], axis)
        leading.append(full[0])
    if walk.is_constant(right):
        walk.read(right, -2)
    elif not walk.is_constant(left):
        walk.entries.note_attention(heads=leading, inside=[inner])
    walk.multiply(walk.numel(node) * len(inner), [*leading, *ends, inner])
    return [*leading, *ends]


@COMPUTING.of("scaled_dot_product_attention")
def _attention(walk: Walk, node: fx.Node) -> Axes:
    query, key, value = (walk.of(each) for each in node.args[:3])
    for place in range(len(query) - 2):
        walk.entries.unite(query[place], key[place])
        walk.entries.unite(query[place], value[place])
    walk.entries.unite(query[-1], key[-1])
    walk.entries.unite(key[-2], value[-2])
    mask = argument(node, 3, "attn_mask")
    for axis in walk.of(mask) if walk.is_tensor(mask) else []:
        walk.entries.fix(axis)
    walk.entries.note_attention(heads=query[:-2], inside=[query[-1], value[-1]])
    pairs = math.prod(len(axis) for axis in query[:-1]) * len(key[-2])
    for inner in (query[-1], value[-1]):
        walk.multiply(pairs * len(inner), [*query[:-1], key[-2], inner])
    return [*query[:-1], value[-1]]


@COMPUTING.of("einsum")
def _einsum(walk: Walk, node: fx.Node) -> Axes:
    equation, tensors = str(node.args[0]).replace(" ", ""), node.args[1]
    inputs, _, output = equation.partition("->")
    if "." in equation or not output:
        for tensor in tensors:  # type: ignore[union-attr]
            for axis in walk.of(tensor):
                walk.entries.fix(axis)
        return walk.fixed(node)
    axis_of: dict[str, Any] = {}
    for letters, tensor in zip(inputs.split(","), tensors, strict=True):  # type: ignore[arg-type]
        for letter, axis in zip(letters, walk.of(tensor), strict=True):
            walk.entries.unite(axis_of.setdefault(letter, axis), axis)
    both = set.intersection(*map(set, inputs.split(",")))
    if not any(walk.is_constant(tensor) for tensor in tensors):  # type: ignore[union-attr]
        walk.entries.note_attention(
            heads=[axis_of[letter] for letter in both & set(output)],
            inside=[axis_of[letter] for letter in both - set(output)],
        )
    walk.multiply(math.prod(len(axis) for axis in axis_of.values()), list(axis_of.values()))
    return [axis_of[letter] for letter in output]


@COMPUTING.of("batch_norm", "instance_norm")
def _norm_of_channels(walk: Walk, node: fx.Node) -> Axes:
    image, *others = (tensor for tensor in node.all_input_nodes if walk.is_tensor(tensor))
    for other in others:
        walk.entries.unite(walk.of(image)[1], walk.of(other)[0])
    return walk.of(image)


@COMPUTING.of("layer_norm", "rms_norm")
def _norm_of_features(walk: Walk, node: fx.Node) -> Axes:
    features, *others = (tensor for tensor in node.all_input_nodes if walk.is_tensor(tensor))
    for other in others:
        for one, theirs in zip(walk.of(features)[::-1], walk.of(other)[::-1], strict=False):
            walk.entries.unite(one, theirs)
    return walk.of(features)


@COMPUTING.of("group_norm")
def _norm_of_groups(walk: Walk, node: fx.Node) -> Axes:
    image, *others = (tensor for tensor in node.all_input_nodes if walk.is_tensor(tensor))
    channels, groups = walk.of(image)[1], int(node.args[1])  # type: ignore[arg-type]
    for other in others:
        walk.entries.unite(channels, walk.of(other)[0])
    walk.alike(channels, groups)
    return walk.of(image)


@COMPUTING.of(
    "sum", "mean", "amax", "amin", "var", "std", "prod", "linalg_vector_norm", "norm", "any", "all", "max", "min"
)
def _reduction(walk: Walk, node: fx.Node) -> Any:
    place = 2 if any(word in str(node.target) for word in ("vector_norm", "norm.Scalar")) else 1
    gone, before = argument(node, place, "dim"), walk.of(node.args[0])
    if isinstance(node.meta["shape"], list):  # values and their places
        return [_without(walk, each, before, gone) for each in node.meta["shape"]]
    return _without(walk, walk.shape(node), before, gone)


def _without(walk: Walk, shape: tuple[int, ...], before: Axes, gone: Any) -> Axes:
    dimensions = [gone] if isinstance(gone, int) else list(gone or range(len(before)))
    removed = {dimension % len(before) for dimension in dimensions}
    if len(shape) == len(before):
        return [walk.entries.fixed(1) if place in removed else axis for place, axis in enumerate(before)]
    return [axis for place, axis in enumerate(before) if place not in removed]


@COMPUTING.of(
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "max_pool3d", "avg_pool3d"),
    *("upsample_bilinear2d", "upsample_nearest2d", "upsample_bicubic2d", "upsample_trilinear3d", "upsample_nearest3d"),
    *(
        "upsample_nearest1d",
        "upsample_linear1d",
        "grid_sampler",
        "_upsample_bilinear2d_aa",
        "_upsample_nearest_exact2d",
    ),
)
def _on_another_grid(walk: Walk, node: fx.Node) -> Axes:
    return [*walk.of(node.args[0])[:2], *walk.fixed(node)[2:]]
