"""A LiteRT graph under construction: tensors, constants and operators, serialized at the end.

Source: the FlatBuffers schema of TensorFlow Lite, version 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

__all__ = ["GraphBuilder", "Operator", "schema"]

Operator = schema.BuiltinOperator
FLOAT, INT = schema.TensorType.FLOAT32, schema.TensorType.INT32
FORMAT_VERSION = 3
FILE_IDENTIFIER = b"TFL3"
FIRST_BYTES = 1 << 20  # of the serialized model; it grows


class GraphBuilder:
    """A LiteRT graph under construction. A tensor is named by its index."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first buffer is empty, for tensors that are computed
        self._operators: list[Any] = []
        self._codes: dict[int, int] = {}

    def tensor(self, shape: Sequence[int], kind: int = FLOAT, buffer: int = 0) -> int:
        """Add a tensor; return its index."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), kind, buffer
        tensor.name = f"t{len(self._tensors)}"
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, array: NDArray[Any]) -> int:
        """Add a constant, int32 where the array holds integers, else float32."""
        kind, dtype = (INT, np.int32) if array.dtype.kind == "i" else (FLOAT, np.float32)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array, dtype).tobytes(), np.uint8)
        self._buffers.append(buffer)
        return self.tensor(array.shape, kind, len(self._buffers) - 1)

    def shape(self, index: int) -> list[int]:
        """Return a tensor's shape."""
        shape: list[int] = self._tensors[index].shape
        return shape

    def emit(
        self, operator: int, inputs: Sequence[int], shape: Sequence[int], options: Any = None, *, outputs: int = 1
    ) -> int:
        """Add an operator; return the first of its `outputs` outputs, which all have the same shape."""
        first, *rest = [self.tensor(shape) for _ in range(outputs)]
        made = schema.OperatorT()
        made.opcodeIndex = self._codes.setdefault(operator, len(self._codes))
        made.inputs, made.outputs = list(inputs), [first, *rest]
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(made)
        return first

    def transposed(self, index: int, axes: Sequence[int]) -> int:
        """Add a transpose."""
        shape = self.shape(index)
        inputs = [index, self.constant(np.array(axes))]
        return self.emit(Operator.TRANSPOSE, inputs, [shape[axis] for axis in axes], schema.TransposeOptionsT())

    def reshaped(self, index: int, shape: Sequence[int]) -> int:
        """Add a reshape."""
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return self.emit(Operator.RESHAPE, [index, self.constant(np.array(shape))], shape, options)

    def reduced(self, operator: int, index: int, axes: Sequence[int]) -> int:
        """Add a sum or a mean over some axes, which stay with length 1."""
        shape = self.shape(index)
        axes = [axis % len(shape) for axis in axes]
        options = schema.ReducerOptionsT()
        options.keepDims = True
        small = [1 if axis in axes else length for axis, length in enumerate(shape)]
        return self.emit(operator, [index, self.constant(np.array(axes))], small, options)

    def binary(self, name: str, left: int, right: int, shape: Sequence[int]) -> int:
        """Add one of the operators Add, Sub, Mul and Div, which broadcast to `shape`."""
        return self.emit(getattr(Operator, name.upper()), [left, right], shape, getattr(schema, f"{name}OptionsT")())

    def serialized(self, inputs: list[int], outputs: list[int]) -> bytes:
        """Return the whole model."""
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs, subgraph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = FORMAT_VERSION, [subgraph], self._buffers
        model.operatorCodes = [_code(operator) for operator in self._codes]
        builder = flatbuffers.Builder(FIRST_BYTES)
        builder.Finish(model.Pack(builder), FILE_IDENTIFIER)
        return bytes(builder.Output())


def _code(operator: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = operator, min(operator, 127), 1
    return code
