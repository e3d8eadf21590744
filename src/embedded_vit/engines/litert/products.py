"""Matrix products; a LayerNorm before and a bias after a product become part of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.artifact.onnx_graph import Node
from embedded_vit.engines.litert.builder import GraphBuilder, Operator, schema
from embedded_vit.engines.litert.translation import Held, Translation

__all__ = ["layer_norm", "matmul"]


def matmul(translation: Translation, node: Node) -> Held:
    """Translate a product with a constant matrix, or of two (batches of) matrices."""
    if _is_linear(translation, node):
        return _linear(translation, node)
    builder = translation.builder
    shapes = [translation.shape_of(name) for name in node.inputs]
    rank = max(map(len, shapes))
    (left, left_transposed), (right, right_transposed) = (_factor(translation, name, rank) for name in node.inputs)
    shape = (*np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2]), shapes[0][-2], shapes[1][-1])
    options = schema.BatchMatMulOptionsT()
    if left_transposed and right_transposed:  # aᵀ bᵀ = (b a)ᵀ
        index = builder.emit(Operator.BATCH_MATMUL, [right, left], (*shape[:-2], shape[-1], shape[-2]), options)
        return Held(index, shape, channels_last=True)
    options.adjX, options.adjY = left_transposed, right_transposed
    return Held(builder.emit(Operator.BATCH_MATMUL, [left, right], shape, options), shape)


def _factor(translation: Translation, name: str, rank: int) -> tuple[int, bool]:
    """Return a tensor, and whether it is the transpose of the factor."""
    if name in translation.constants:
        array = translation.constants[name]
        return translation.builder.constant(array.reshape((1,) * (rank - array.ndim) + array.shape)), False
    value = translation.held[name]
    if value.channels_last and len(value.shape) == 3:
        return value.index, True
    return translation.plain(value), False


def _is_linear(translation: Translation, node: Node) -> bool:
    """Return whether a node multiplies with a constant matrix."""
    weights = translation.constants.get(node.inputs[1]) if node.operator == "MatMul" else None
    return weights is not None and weights.ndim == 2


def _linear(translation: Translation, node: Node) -> Held:
    """Translate a product with a constant matrix, merged with a LayerNorm's scale and shift and with a bias."""
    builder = translation.builder
    value, weights = translation.held[node.inputs[0]], translation.constants[node.inputs[1]]
    bias = added = _bias_after(translation, node)
    if node.inputs[0] in translation.affine:
        scale, shift = translation.affine[node.inputs[0]]
        bias = shift @ weights + (0 if bias is None else bias)
        weights = scale[:, None] * weights
    inputs = [translation.plain(value), builder.constant(weights.T)]
    if bias is not None:
        inputs.append(builder.constant(bias))
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    shape = (*value.shape[:-1], weights.shape[1])
    held = Held(builder.emit(Operator.FULLY_CONNECTED, inputs, shape, options), shape)
    if added is not None:
        translation.held[translation.users[node.outputs[0]][0].outputs[0]] = held
    return held


def _bias_after(translation: Translation, node: Node) -> NDArray[Any] | None:
    """Return the constant vector that is added to a product, if the sum is the product's only use."""
    users = translation.users[node.outputs[0]]
    if len(users) != 1 or users[0].operator != "Add":
        return None
    vectors = [translation.constants[name] for name in users[0].inputs if name in translation.constants]
    return vectors[0] if vectors and vectors[0].ndim == 1 else None


def layer_norm(translation: Translation, node: Node) -> Held:
    """Translate LayerNorm over the last axis; scale and shift are merged into the products that follow."""
    builder = translation.builder
    value = translation.held[node.inputs[0]]
    weight, bias = (translation.constants[name] for name in node.inputs[1:])
    index, shape = translation.plain(value), value.shape
    centred = builder.binary("Sub", index, _mean(builder, index), shape)
    variance = _mean(builder, builder.binary("Mul", centred, centred, shape))
    small = (*shape[:-1], 1)
    epsilon = builder.constant(np.array(node.attributes["epsilon"], np.float32))
    inverse = builder.emit(Operator.RSQRT, [builder.binary("Add", variance, epsilon, small)], small)
    normalized = builder.binary("Mul", centred, inverse, shape)
    users = translation.users[node.outputs[0]]
    if users and all(_is_linear(translation, user) for user in users):
        translation.affine[node.outputs[0]] = weight, bias
        return Held(normalized, shape)
    scaled = builder.binary("Mul", normalized, builder.constant(weight), shape)
    return Held(builder.binary("Add", scaled, builder.constant(bias), shape), shape)


def _mean(builder: GraphBuilder, index: int) -> int:
    return builder.reduced(Operator.MEAN, index, (-1,))
