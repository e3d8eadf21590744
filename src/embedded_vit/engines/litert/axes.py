"""Operators that move or join axes, without arithmetic."""

from __future__ import annotations

import numpy as np

from embedded_vit.artifact.onnx_graph import Node
from embedded_vit.engines.litert.builder import Operator, schema
from embedded_vit.engines.litert.translation import Held, Translation

__all__ = ["concat", "expand", "reshape", "split", "transpose", "unsqueeze"]


def transpose(translation: Translation, node: Node) -> Held:
    """Translate a transpose; one of the last two of three axes only changes how the tensor is held."""
    value, axes = translation.held[node.inputs[0]], node.attributes["perm"]
    shape = tuple(value.shape[axis] for axis in axes)
    if axes == (0, 2, 1):
        return Held(value.index, shape, channels_last=not value.channels_last)
    return Held(translation.builder.transposed(translation.plain(value), axes), shape)


def reshape(translation: Translation, node: Node) -> Held:
    """Translate a reshape; channels stay last where neither batch nor channels change."""
    builder = translation.builder
    value, stated = translation.held[node.inputs[0]], translation.constants[node.inputs[1]]
    wanted = [length or value.shape[place] for place, length in enumerate(stated.tolist())]  # 0: as it is
    shape: tuple[int, ...] = np.empty(value.shape, np.bool_).reshape(wanted).shape
    if value.channels_last and shape[:2] == value.shape[:2]:
        return Held(builder.reshaped(value.index, (shape[0], *shape[2:], shape[1])), shape, channels_last=True)
    return Held(builder.reshaped(translation.plain(value), shape), shape)


def unsqueeze(translation: Translation, node: Node) -> Held:
    """Translate new axes of length 1."""
    value, axes = translation.held[node.inputs[0]], translation.constants[node.inputs[1]]
    shape = np.expand_dims(np.empty(value.shape, np.bool_), tuple(axes)).shape
    return Held(translation.builder.reshaped(translation.plain(value), shape), shape)


def expand(translation: Translation, node: Node) -> Held:
    """Translate a repetition along axes of length 1 to nothing."""
    return translation.held[node.inputs[0]]  # the operators that use it broadcast


def split(translation: Translation, node: Node) -> tuple[Held, ...]:
    """Translate a split into equal parts."""
    builder = translation.builder
    value, axis, count = translation.held[node.inputs[0]], node.attributes["axis"], len(node.outputs)
    index, shape = translation.plain(value), list(value.shape)
    axis %= len(shape)
    shape[axis] //= count
    options = schema.SplitOptionsT()
    options.numSplits = count
    first = builder.emit(Operator.SPLIT, [builder.constant(np.array(axis)), index], shape, options, outputs=count)
    return tuple(Held(first + place, tuple(shape)) for place in range(count))


def concat(translation: Translation, node: Node) -> Held:
    """Translate a concatenation; channels stay last where all parts have them last."""
    builder = translation.builder
    shape = list(translation.shape_of(node.inputs[0]))
    axis = node.attributes["axis"] % len(shape)
    shape[axis] = sum(translation.shape_of(name)[axis] for name in node.inputs)
    values = [translation.held.get(name) for name in node.inputs]
    options = schema.ConcatenationOptionsT()
    if axis == 1 and all(value is not None and value.channels_last for value in values):
        options.axis = len(shape) - 1
        indices = [value.index for value in values if value is not None]
        last = (shape[0], *shape[2:], shape[1])
        return Held(builder.emit(Operator.CONCATENATION, indices, last, options), tuple(shape), channels_last=True)
    options.axis = axis
    indices = [translation.operand(name) for name in node.inputs]
    return Held(builder.emit(Operator.CONCATENATION, indices, shape, options), tuple(shape))
