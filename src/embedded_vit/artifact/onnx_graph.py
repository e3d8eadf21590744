"""Nodes and weights of an ONNX file, read without the onnx package, for engines that take another format."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.artifact.onnx_file import fields_of

__all__ = ["Node", "OnnxGraph", "read_graph"]

# Field numbers of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 1, 5, 11, 12
NODE_INPUT, NODE_OUTPUT, NODE_OPERATOR, NODE_ATTRIBUTE = 1, 2, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_FLOAT, ATTRIBUTE_INTEGER, ATTRIBUTE_TEXT, ATTRIBUTE_INTEGERS = 1, 2, 3, 4, 8
TENSOR_DIMENSIONS, TENSOR_TYPE, TENSOR_NAME, TENSOR_BYTES = 1, 2, 8, 9
TENSOR_FLOATS, TENSOR_SMALL_INTEGERS, TENSOR_INTEGERS = 4, 5, 7
VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_SHAPE, SHAPE_AXIS, AXIS_LENGTH = 1, 2, 1, 2, 1, 1
NUMPY_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 10: np.float16}


@dataclass(frozen=True)
class Node:
    """One operator."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class OnnxGraph:
    """A graph with one input and one output.

    Attributes:
        nodes: In an order in which they can be computed.
        weights: The constants by name.
        input, output: Names.
        input_shape: A batch of any length is 1.
    """

    nodes: tuple[Node, ...]
    weights: Mapping[str, NDArray[Any]]
    input: str
    output: str
    input_shape: tuple[int, ...]


def read_graph(content: bytes) -> OnnxGraph:
    """Read a serialized ONNX model that `embedded_vit.artifact.manifest.read_artifact` has checked.

    Raises:
        ValueError: It is damaged, or its weights are of a type that no artifact has.
    """
    [model] = [field.payload for field in fields_of(memoryview(content)) if field.number == MODEL_GRAPH]
    nodes, weights, inputs, outputs = [], {}, [], []
    for field in fields_of(model):
        if field.number == GRAPH_NODE:
            nodes.append(_node(field.payload))
        elif field.number == GRAPH_INITIALIZER:
            name, array = _tensor(field.payload)
            weights[name] = array
        elif field.number == GRAPH_INPUT:
            inputs.append(_input(field.payload))
        elif field.number == GRAPH_OUTPUT:
            outputs.append(_input(field.payload)[0])
    [(input_name, input_shape)], [output] = inputs, outputs
    return OnnxGraph(tuple(nodes), weights, input_name, output, input_shape)


def _node(message: memoryview) -> Node:
    inputs, outputs, operator, attributes = [], [], "", {}
    for field in fields_of(message):
        if field.number == NODE_INPUT:
            inputs.append(_text(field.payload))
        elif field.number == NODE_OUTPUT:
            outputs.append(_text(field.payload))
        elif field.number == NODE_OPERATOR:
            operator = _text(field.payload)
        elif field.number == NODE_ATTRIBUTE:
            name, value = _attribute(field.payload)
            attributes[name] = value
    return Node(operator, tuple(inputs), tuple(outputs), attributes)


def _attribute(message: memoryview) -> tuple[str, Any]:
    name: str = ""
    value: Any = None
    integers: list[int] = []
    for field in fields_of(message):
        if field.number == ATTRIBUTE_NAME:
            name = _text(field.payload)
        elif field.number == ATTRIBUTE_FLOAT:
            [value] = struct.unpack("<f", field.payload)
        elif field.number == ATTRIBUTE_INTEGER:
            value = _signed(field.value)
        elif field.number == ATTRIBUTE_TEXT:
            value = _text(field.payload)
        elif field.number == ATTRIBUTE_INTEGERS:
            integers += _integers(field.payload, field.value)
    return name, value if value is not None else tuple(integers)


def _tensor(message: memoryview) -> tuple[str, NDArray[Any]]:
    """Read the name and the values, which are in a field of bytes or in a field of their type."""
    name, kind = "", 0
    dimensions: list[int] = []
    values: NDArray[Any] | list[int] = []
    for field in fields_of(message):
        if field.number == TENSOR_NAME:
            name = _text(field.payload)
        elif field.number == TENSOR_DIMENSIONS:
            dimensions += _integers(field.payload, field.value)
        elif field.number == TENSOR_TYPE:
            kind = field.value
            if kind not in NUMPY_TYPES:
                raise ValueError(f"weights of type {kind}")
        elif field.number == TENSOR_BYTES:
            values = np.frombuffer(field.payload, NUMPY_TYPES[kind])
        elif field.number == TENSOR_FLOATS:
            values = np.frombuffer(field.payload, np.float32)
        elif field.number in (TENSOR_SMALL_INTEGERS, TENSOR_INTEGERS):
            values = _integers(field.payload, field.value)
    return name, np.asarray(values, NUMPY_TYPES[kind]).reshape(dimensions)


def _input(message: memoryview) -> tuple[str, tuple[int, ...]]:
    """Read the name and the shape of an input or output of the graph; an axis without a length is 1."""
    [name] = [_text(field.payload) for field in fields_of(message) if field.number == VALUE_NAME]
    shape = message
    for number in (VALUE_TYPE, TYPE_TENSOR, TENSOR_SHAPE):
        [shape] = [field.payload for field in fields_of(shape) if field.number == number]
    axes = [field.payload for field in fields_of(shape) if field.number == SHAPE_AXIS]
    lengths = [[field.value for field in fields_of(axis) if field.number == AXIS_LENGTH] for axis in axes]
    return name, tuple(length[0] if length else 1 for length in lengths)


def _integers(packed: memoryview, single: int) -> list[int]:
    """Read a repeated number, packed into one field or alone in this one."""
    if not packed:
        return [_signed(single)]
    numbers, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(_signed(number))
            number, shift = 0, 0
    return numbers


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _text(payload: memoryview) -> str:
    return bytes(payload).decode()
