"""Operators that compute elementwise or along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedded_vit.artifact.onnx_graph import Node
from embedded_vit.engines.litert.builder import Operator, schema
from embedded_vit.engines.litert.translation import Held, Translation

__all__ = ["clip", "elementwise", "gelu", "reduce_l2", "reduce_sum", "relu", "softmax", "sqrt"]


def softmax(translation: Translation, node: Node) -> Held:
    """Translate a softmax over the last axis or the channels."""
    builder = translation.builder
    value = translation.held[node.inputs[0]]
    axis = node.attributes["axis"] % len(value.shape)
    last = axis == len(value.shape) - 1
    if not last and axis != 1:
        raise ValueError(f"operator Softmax over axis {axis}")
    index = translation.plain(value) if last else translation.channels_last(value)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    held = builder.emit(Operator.SOFTMAX, [index], builder.shape(index), options)
    return Held(held, value.shape, channels_last=not last)


def elementwise(translation: Translation, node: Node) -> Held:
    """Translate a sum, difference, product or quotient, which broadcasts.

    Channels stay last where two images of one shape have them last.
    """
    builder = translation.builder
    held = [translation.held[name] for name in node.inputs if name in translation.held]
    if len(held) == 2 and held[0].channels_last and held[1].channels_last and held[0].shape == held[1].shape:
        index = builder.binary(node.operator, held[0].index, held[1].index, builder.shape(held[0].index))
        return Held(index, held[0].shape, channels_last=True)
    left, right = (translation.operand(name) for name in node.inputs)
    shape = np.broadcast_shapes(builder.shape(left), builder.shape(right))
    return Held(builder.binary(node.operator, left, right, shape), shape)


def clip(translation: Translation, node: Node) -> Held:
    """Translate a lower bound."""
    if len(node.inputs) > 2 and node.inputs[2]:
        raise ValueError("operator Clip with an upper end")
    lowest = translation.operand(node.inputs[1])
    return _pointwise(translation, Operator.MAXIMUM, node, lowest, options=schema.MaximumMinimumOptionsT())


def sqrt(translation: Translation, node: Node) -> Held:
    """Translate a square root."""
    return _pointwise(translation, Operator.SQRT, node)


def relu(translation: Translation, node: Node) -> Held:
    """Translate a ReLU."""
    return _pointwise(translation, Operator.RELU, node)


def gelu(translation: Translation, node: Node) -> Held:
    """Translate a GELU, exact or with tanh."""
    options = schema.GeluOptionsT()
    options.approximate = node.attributes.get("approximate") == "tanh"
    return _pointwise(translation, Operator.GELU, node, options=options)


def _pointwise(translation: Translation, operator: int, node: Node, *others: int, options: Any = None) -> Held:
    """Translate an operator that keeps the order of the axes."""
    builder = translation.builder
    value = translation.held[node.inputs[0]]
    index = builder.emit(operator, [value.index, *others], builder.shape(value.index), options)
    return Held(index, value.shape, value.channels_last)


def reduce_sum(translation: Translation, node: Node) -> Held:
    """Translate a sum over axes."""
    builder = translation.builder
    index = translation.plain(translation.held[node.inputs[0]])
    index = builder.reduced(Operator.SUM, index, translation.constants[node.inputs[1]].tolist())
    return Held(index, tuple(builder.shape(index)))


def reduce_l2(translation: Translation, node: Node) -> Held:
    """Translate a Euclidean norm over axes."""
    builder = translation.builder
    index = translation.plain(translation.held[node.inputs[0]])
    squares = builder.binary("Mul", index, index, builder.shape(index))
    sums = builder.reduced(Operator.SUM, squares, translation.constants[node.inputs[1]].tolist())
    return Held(builder.emit(Operator.SQRT, [sums], builder.shape(sums)), tuple(builder.shape(sums)))
