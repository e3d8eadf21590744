"""An artifact's ONNX graph in LiteRT's format, translated when it is loaded.

The file that a device holds stays one ONNX file for every engine. LiteRT wants images with their channels last and
softmax over the last axis; the networks' tokens lie that way already, so the transposes around every convolution and
product, which ONNX must have, mostly vanish: a transposed tensor is kept as it is and read the other way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from embedded_vit.artifact.onnx_graph import Node, OnnxGraph

__all__ = ["litert_model"]

Operator = schema.BuiltinOperator
Options = schema.BuiltinOptions
FLOAT, INT = schema.TensorType.FLOAT32, schema.TensorType.INT32
FORMAT_VERSION = 3
TO_CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1)}
TO_CHANNELS_FIRST = {3: (0, 2, 1), 4: (0, 3, 1, 2)}


@dataclass(frozen=True)
class Held:
    """How the LiteRT graph holds one of ONNX's tensors.

    Attributes:
        index: Of the LiteRT tensor.
        shape: Of ONNX's tensor, (1, C, ...).
        channels_last: Whether the LiteRT tensor is (1, ..., C).
    """

    index: int
    shape: tuple[int, ...]
    channels_last: bool = False


def litert_model(graph: OnnxGraph) -> bytes:
    """Translate a graph of batch 1.

    Returns:
        A serialized LiteRT (TensorFlow Lite) model: (1, C, S, S) in, (1, K, S, S) out, float32.

    Raises:
        ValueError: It has operators that the networks of this project do not need, or integers.
    """
    return _Translation(graph).model()


class _Translation:
    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]  # the first one is empty, for what is computed
        self.operators: list[Any] = []
        self.codes: dict[int, int] = {}
        self.held: dict[str, Held] = {}
        self.constants: dict[str, NDArray[Any]] = dict(graph.weights)
        self.affine: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}  # scale and shift still to be applied
        self.users: dict[str, list[Node]] = defaultdict(list)
        for node in graph.nodes:
            for name in node.inputs:
                self.users[name].append(node)
            if node.operator == "Cast" and node.inputs[0] in self.constants:  # of weights that are stored in halves
                self.constants[node.outputs[0]] = self.constants[node.inputs[0]].astype(np.float32)

    def model(self) -> bytes:
        graph = self.graph
        self.held[graph.input] = Held(self._tensor(graph.input_shape), graph.input_shape)
        for node in graph.nodes:
            if (
                node.outputs[0] in self.held or node.outputs[0] in self.constants
            ):  # a bias in its product, a cast weight
                continue
            if node.operator == "Split":
                self._split(node)
            elif node.operator in TRANSLATIONS:
                self.held[node.outputs[0]] = TRANSLATIONS[node.operator](self, node)
            else:
                raise ValueError(f"operator {node.operator}")
        output = self._plain(self.held[graph.output])
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = [self.held[graph.input].index], [output]
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = FORMAT_VERSION, [subgraph], self.buffers
        model.operatorCodes = [_code(operator) for operator in self.codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    # What the translated graph is made of.

    def _tensor(self, shape: Sequence[int], kind: int = FLOAT, buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), kind, buffer
        tensor.name = f"t{len(self.tensors)}"
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _constant(self, array: NDArray[Any]) -> int:
        kind, dtype = (INT, np.int32) if array.dtype.kind == "i" else (FLOAT, np.float32)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array, dtype).tobytes(), np.uint8)
        self.buffers.append(buffer)
        return self._tensor(array.shape, kind, len(self.buffers) - 1)

    def _emit(
        self, operator: int, inputs: Sequence[int], shape: Sequence[int], options: Any = None, *, outputs: int = 1
    ) -> int:
        """Add an operator and return its output, the first of `outputs` of one shape."""
        first, *rest = [self._tensor(shape) for _ in range(outputs)]
        made = schema.OperatorT()
        made.opcodeIndex = self.codes.setdefault(operator, len(self.codes))
        made.inputs, made.outputs = list(inputs), [first, *rest]
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(Options, type(options).__name__.removesuffix("T"))
        self.operators.append(made)
        return first

    def _transposed(self, index: int, axes: Sequence[int]) -> int:
        shape = self._shape(index)
        inputs = [index, self._constant(np.array(axes))]
        return self._emit(Operator.TRANSPOSE, inputs, [shape[axis] for axis in axes], schema.TransposeOptionsT())

    def _reshaped(self, index: int, shape: Sequence[int]) -> int:
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return self._emit(Operator.RESHAPE, [index, self._constant(np.array(shape))], shape, options)

    def _shape(self, index: int) -> list[int]:
        shape: list[int] = self.tensors[index].shape
        return shape

    def _plain(self, value: Held) -> int:
        """The tensor in ONNX's order of axes."""
        if not value.channels_last:
            return value.index
        return self._transposed(value.index, TO_CHANNELS_FIRST[len(value.shape)])

    def _channels_last(self, value: Held) -> int:
        if value.channels_last:
            return value.index
        return self._transposed(value.index, TO_CHANNELS_LAST[len(value.shape)])

    def _operand(self, name: str) -> int:
        """An input in ONNX's order of axes, constant or not."""
        if name in self.constants:
            return self._constant(self.constants[name])
        return self._plain(self.held[name])

    # Operators of https://onnx.ai/onnx/operators, see TRANSLATIONS.

    def _matmul(self, node: Node) -> Held:
        if self._is_linear(node):
            return self._linear(node)
        shapes = [self._onnx_shape(name) for name in node.inputs]
        rank = max(map(len, shapes))
        (left, left_transposed), (right, right_transposed) = (self._factor(name, rank) for name in node.inputs)
        shape = (*np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2]), shapes[0][-2], shapes[1][-1])
        options = schema.BatchMatMulOptionsT()
        if left_transposed and right_transposed:  # aᵀ bᵀ = (b a)ᵀ
            index = self._emit(Operator.BATCH_MATMUL, [right, left], (*shape[:-2], shape[-1], shape[-2]), options)
            return Held(index, shape, channels_last=True)
        options.adjX, options.adjY = left_transposed, right_transposed
        return Held(self._emit(Operator.BATCH_MATMUL, [left, right], shape, options), shape)

    def _factor(self, name: str, rank: int) -> tuple[int, bool]:
        """A tensor, and whether it is the transpose of what it stands for."""
        if name in self.constants:
            array = self.constants[name]
            return self._constant(array.reshape((1,) * (rank - array.ndim) + array.shape)), False
        value = self.held[name]
        if value.channels_last and len(value.shape) == 3:
            return value.index, True
        return self._plain(value), False

    def _onnx_shape(self, name: str) -> tuple[int, ...]:
        return self.constants[name].shape if name in self.constants else self.held[name].shape

    def _is_linear(self, node: Node) -> bool:
        """Whether a node multiplies with a constant matrix."""
        weights = self.constants.get(node.inputs[1]) if node.operator == "MatMul" else None
        return weights is not None and weights.ndim == 2

    def _linear(self, node: Node) -> Held:
        """Such a product; LayerNorm's scale and shift before it and a bias after it become part of it."""
        value, weights = self.held[node.inputs[0]], self.constants[node.inputs[1]]
        bias = added = self._bias_after(node)
        if node.inputs[0] in self.affine:
            scale, shift = self.affine[node.inputs[0]]
            bias = shift @ weights + (0 if bias is None else bias)
            weights = scale[:, None] * weights
        inputs = [self._plain(value), self._constant(weights.T)]
        if bias is not None:
            inputs.append(self._constant(bias))
        options = schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        shape = (*value.shape[:-1], weights.shape[1])
        held = Held(self._emit(Operator.FULLY_CONNECTED, inputs, shape, options), shape)
        if added is not None:
            self.held[self.users[node.outputs[0]][0].outputs[0]] = held
        return held

    def _bias_after(self, node: Node) -> NDArray[Any] | None:
        """The constant vector that is added to a product, if that is all that becomes of it."""
        users = self.users[node.outputs[0]]
        if len(users) != 1 or users[0].operator != "Add":
            return None
        vectors = [self.constants[name] for name in users[0].inputs if name in self.constants]
        return vectors[0] if vectors and vectors[0].ndim == 1 else None

    def _kernel(self, node: Node) -> NDArray[Any]:
        if node.inputs[1] not in self.constants:
            raise ValueError(f"operator {node.operator} with a kernel that is computed")
        return self.constants[node.inputs[1]]

    def _bias(self, node: Node, channels: int) -> NDArray[Any]:
        return self.constants[node.inputs[2]] if len(node.inputs) == 3 else np.zeros(channels, np.float32)

    def _conv(self, node: Node) -> Held:
        value, weights = self.held[node.inputs[0]], self._kernel(node)
        out_channels, _, height, width = weights.shape
        bias = self._bias(node, out_channels)
        (top, left, bottom, right), (stride, across) = node.attributes["pads"], node.attributes["strides"]
        groups = node.attributes["group"]
        if stride != across or node.attributes["dilations"] != (1, 1) or groups not in (1, out_channels):
            raise ValueError("operator Conv with strides, dilations or groups of another kind")
        index = self._channels_last(value)
        batch, rows, columns, channels = self._shape(index)
        rows, columns = rows + top + bottom, columns + left + right
        same = stride == 1 and top == bottom == height // 2 and left == right == width // 2
        if any((top, left, bottom, right)) and not same:
            pads = np.array([(0, 0), (top, bottom), (left, right), (0, 0)])
            index = self._emit(
                Operator.PAD, [index, self._constant(pads)], (batch, rows, columns, channels), schema.PadOptionsT()
            )
        shape = (batch, (rows - height) // stride + 1, (columns - width) // stride + 1, out_channels)
        if groups == 1:
            operator, options, kernel = Operator.CONV_2D, schema.Conv2DOptionsT(), weights.transpose(0, 2, 3, 1)
        else:
            operator, options = Operator.DEPTHWISE_CONV_2D, schema.DepthwiseConv2DOptionsT()
            options.depthMultiplier = 1
            kernel = weights.transpose(1, 2, 3, 0)
        options.padding = schema.Padding.SAME if same else schema.Padding.VALID
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = 1
        inputs = [index, self._constant(kernel), self._constant(bias)]
        index = self._emit(operator, inputs, shape, options)
        return Held(index, (batch, out_channels, *shape[1:3]), channels_last=True)

    def _conv_transpose(self, node: Node) -> Held:
        value, weights = self.held[node.inputs[0]], self._kernel(node)
        _, out_channels, height, width = weights.shape
        bias = self._bias(node, out_channels)
        strides, attributes = node.attributes["strides"], node.attributes
        others = [*attributes.get("pads", ()), *attributes.get("output_padding", ())]
        if strides != (height, width) or any(others) or attributes["dilations"] != (1, 1) or attributes["group"] != 1:
            raise ValueError("operator ConvTranspose whose kernels overlap, or of another kind")
        index = self._channels_last(value)
        batch, rows, columns, _ = self._shape(index)
        shape = (batch, height * rows, width * columns, out_channels)
        options = schema.TransposeConvOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.VALID, height, width
        kernel = self._constant(weights.transpose(1, 2, 3, 0))
        inputs = [self._constant(np.array(shape)), kernel, index, self._constant(bias)]
        index = self._emit(Operator.TRANSPOSE_CONV, inputs, shape, options)
        return Held(index, (batch, out_channels, *shape[1:3]), channels_last=True)

    def _transpose(self, node: Node) -> Held:
        value, axes = self.held[node.inputs[0]], node.attributes["perm"]
        shape = tuple(value.shape[axis] for axis in axes)
        if axes == (0, 2, 1):
            return Held(value.index, shape, channels_last=not value.channels_last)
        return Held(self._transposed(self._plain(value), axes), shape)

    def _reshape(self, node: Node) -> Held:
        value, wanted = self.held[node.inputs[0]], self.constants[node.inputs[1]]
        shape: tuple[int, ...] = np.empty(value.shape, np.bool_).reshape(wanted).shape
        if value.channels_last and shape[:2] == value.shape[:2]:
            return Held(self._reshaped(value.index, (shape[0], *shape[2:], shape[1])), shape, channels_last=True)
        return Held(self._reshaped(self._plain(value), shape), shape)

    def _unsqueeze(self, node: Node) -> Held:
        value, axes = self.held[node.inputs[0]], self.constants[node.inputs[1]]
        shape = np.expand_dims(np.empty(value.shape, np.bool_), tuple(axes)).shape
        return Held(self._reshaped(self._plain(value), shape), shape)

    def _expand(self, node: Node) -> Held:
        return self.held[node.inputs[0]]  # what uses it broadcasts by itself

    def _softmax(self, node: Node) -> Held:
        value, axis = self.held[node.inputs[0]], node.attributes["axis"] % len(self.held[node.inputs[0]].shape)
        last = axis == len(value.shape) - 1
        if not last and axis != 1:
            raise ValueError(f"operator Softmax over axis {axis}")
        index = self._plain(value) if last else self._channels_last(value)
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        held = self._emit(Operator.SOFTMAX, [index], self._shape(index), options)
        return Held(held, value.shape, channels_last=not last)

    def _layer_norm(self, node: Node) -> Held:
        value = self.held[node.inputs[0]]
        weight, bias = (self.constants[name] for name in node.inputs[1:])
        index, shape = self._plain(value), value.shape
        centred = self._binary("Sub", index, self._mean(index), shape)
        variance = self._mean(self._binary("Mul", centred, centred, shape))
        small = (*shape[:-1], 1)
        epsilon = self._constant(np.array(node.attributes["epsilon"], np.float32))
        inverse = self._emit(Operator.RSQRT, [self._binary("Add", variance, epsilon, small)], small)
        normalised = self._binary("Mul", centred, inverse, shape)
        users = self.users[node.outputs[0]]
        if users and all(self._is_linear(user) for user in users):
            self.affine[node.outputs[0]] = weight, bias
            return Held(normalised, shape)
        scaled = self._binary("Mul", normalised, self._constant(weight), shape)
        return Held(self._binary("Add", scaled, self._constant(bias), shape), shape)

    def _mean(self, index: int) -> int:
        return self._reduced(Operator.MEAN, index, (-1,))

    def _reduced(self, operator: int, index: int, axes: Sequence[int]) -> int:
        shape = self._shape(index)
        axes = [axis % len(shape) for axis in axes]
        options = schema.ReducerOptionsT()
        options.keepDims = True
        small = [1 if axis in axes else length for axis, length in enumerate(shape)]
        return self._emit(operator, [index, self._constant(np.array(axes))], small, options)

    def _binary(self, name: str, left: int, right: int, shape: Sequence[int]) -> int:
        return self._emit(getattr(Operator, name.upper()), [left, right], shape, getattr(schema, f"{name}OptionsT")())

    def _elementwise(self, node: Node) -> Held:
        left, right = (self._operand(name) for name in node.inputs)
        shape = np.broadcast_shapes(self._shape(left), self._shape(right))
        return Held(self._binary(node.operator, left, right, shape), shape)

    def _clip(self, node: Node) -> Held:
        if len(node.inputs) > 2 and node.inputs[2]:
            raise ValueError("operator Clip with an upper end")
        lowest = self._operand(node.inputs[1])
        return self._pointwise(Operator.MAXIMUM, node, lowest, options=schema.MaximumMinimumOptionsT())

    def _sqrt(self, node: Node) -> Held:
        return self._pointwise(Operator.SQRT, node)

    def _relu(self, node: Node) -> Held:
        return self._pointwise(Operator.RELU, node)

    def _gelu(self, node: Node) -> Held:
        options = schema.GeluOptionsT()
        options.approximate = node.attributes.get("approximate") == "tanh"
        return self._pointwise(Operator.GELU, node, options=options)

    def _pointwise(self, operator: int, node: Node, *others: int, options: Any = None) -> Held:
        """What leaves every axis where it lies."""
        value = self.held[node.inputs[0]]
        index = self._emit(operator, [value.index, *others], self._shape(value.index), options)
        return Held(index, value.shape, value.channels_last)

    def _reduce_sum(self, node: Node) -> Held:
        index = self._plain(self.held[node.inputs[0]])
        index = self._reduced(Operator.SUM, index, self.constants[node.inputs[1]].tolist())
        return Held(index, tuple(self._shape(index)))

    def _reduce_l2(self, node: Node) -> Held:
        index = self._plain(self.held[node.inputs[0]])
        squares = self._binary("Mul", index, index, self._shape(index))
        sums = self._reduced(Operator.SUM, squares, self.constants[node.inputs[1]].tolist())
        return Held(self._emit(Operator.SQRT, [sums], self._shape(sums)), tuple(self._shape(sums)))

    def _split(self, node: Node) -> None:
        value, axis, count = self.held[node.inputs[0]], node.attributes["axis"], len(node.outputs)
        index, shape = self._plain(value), list(value.shape)
        axis %= len(shape)
        shape[axis] //= count
        options = schema.SplitOptionsT()
        options.numSplits = count
        first = self._emit(Operator.SPLIT, [self._constant(np.array(axis)), index], shape, options, outputs=count)
        for place, name in enumerate(node.outputs):
            self.held[name] = Held(first + place, tuple(shape))

    def _concat(self, node: Node) -> Held:
        shape = list(self._onnx_shape(node.inputs[0]))
        axis = node.attributes["axis"] % len(shape)
        shape[axis] = sum(self._onnx_shape(name)[axis] for name in node.inputs)
        values = [self.held.get(name) for name in node.inputs]
        options = schema.ConcatenationOptionsT()
        if axis == 1 and all(value is not None and value.channels_last for value in values):
            options.axis = len(shape) - 1
            indices = [value.index for value in values if value is not None]
            last = (shape[0], *shape[2:], shape[1])
            return Held(self._emit(Operator.CONCATENATION, indices, last, options), tuple(shape), channels_last=True)
        options.axis = axis
        indices = [self._operand(name) for name in node.inputs]
        return Held(self._emit(Operator.CONCATENATION, indices, shape, options), tuple(shape))


TRANSLATIONS: dict[str, Callable[[_Translation, Node], Held]] = {
    "Add": _Translation._elementwise,
    "Clip": _Translation._clip,
    "Concat": _Translation._concat,
    "Conv": _Translation._conv,
    "ConvTranspose": _Translation._conv_transpose,
    "Div": _Translation._elementwise,
    "Expand": _Translation._expand,
    "Gelu": _Translation._gelu,
    "LayerNormalization": _Translation._layer_norm,
    "MatMul": _Translation._matmul,
    "Mul": _Translation._elementwise,
    "ReduceL2": _Translation._reduce_l2,
    "ReduceSum": _Translation._reduce_sum,
    "Relu": _Translation._relu,
    "Reshape": _Translation._reshape,
    "Softmax": _Translation._softmax,
    "Sqrt": _Translation._sqrt,
    "Transpose": _Translation._transpose,
    "Unsqueeze": _Translation._unsqueeze,
}


def _code(operator: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = operator, min(operator, 127), 1
    return code
