"""Small graphs of fused blocks, as the export writes them, to measure what a block costs.

A graph holds several copies of a block, one after another. Two graphs that differ in the number of copies share all
that is not the block: the call, the copying of the input, the changes of layout at its ends. Their difference is the
block.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from embedded_vit.layers.fused_block import FusedBlock

__all__ = ["block_graph", "input_shape"]

OPERATOR_SET, FILE_FORMAT = 20, 10  # those of the export
INPUT, OUTPUT = "image", "logits"


def input_shape(block: FusedBlock) -> tuple[int, int, int, int]:
    """Return the shape of the graphs' input: (1, C, H, W)."""
    channels = block.fixed[0] if block.kind == "frame" else block.widths[0]
    return (1, channels, block.side, block.side)


def block_graph(block: FusedBlock, copies: int) -> bytes:
    """Write a graph of copies of a block, one after another, with random weights.

    Returns:
        A serialized ONNX model with one input of `input_shape` and one output.
    """
    graph = _Graph()
    for _ in range(copies):
        getattr(graph, block.kind)(block)
    return graph.serialized(input_shape(block))


class _Graph:
    """A graph that grows at its end."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.end = INPUT
        self.random = np.random.default_rng(0)

    def frame(self, block: FusedBlock) -> None:
        """Append stem, ReLU and head."""
        image_channels, stride, kernel_side, classes = block.fixed
        (channels,) = block.widths
        self._convolve(image_channels, channels, kernel_side, stride=stride)
        self._append("Relu")
        self._convolve(channels, classes, 1)

    def pair(self, block: FusedBlock) -> None:
        """Append a `ResidualPair`."""
        channels, inner = block.widths
        begin = self.end
        self._convolve(channels, inner, 3)
        self._append("Relu")
        self._convolve(inner, channels, 3)
        self._append("Add", begin)
        self._append("Relu")

    def level(self, block: FusedBlock) -> None:
        """Append the way down to the next level and the way back."""
        channels, coarser = block.widths
        skip = self.end
        self._convolve(channels, coarser, 3, stride=2)
        self._append("Relu")
        self._convolve(coarser, channels, 1)
        scales = self._constant(np.array([1, 1, 2, 2], np.float32))
        self._append("Resize", "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
        self._append("Add", skip)
        self._append("Relu")

    def attention(self, block: FusedBlock) -> None:
        """Append the attention of a `TokenBlock`, and the sum with its input."""
        (channels, attended), head_width = block.widths, block.units[1]
        begin, tokens = self.end, block.side**2
        self._convolve(channels, 3 * attended, 1)
        self._append("Reshape", self._integers(1, 3 * attended, tokens))
        parts = [f"{self.end}_{part}" for part in ("queries", "keys", "values")]
        self.nodes.append(helper.make_node("Split", [self.end], parts, axis=1, num_outputs=3))
        heads = self._integers(1, attended // head_width, head_width, tokens)
        queries, keys, values = (self._node("Reshape", part, heads) for part in parts)
        self.end = self._node("Transpose", queries, perm=[0, 1, 3, 2])
        self._append("MatMul", keys)
        self._append("Mul", self._constant(np.array(head_width**-0.5, np.float32)))
        self._append("Softmax", axis=-1)
        self._append("Transpose", perm=[0, 1, 3, 2])
        self.end = self._node("MatMul", values, self.end)
        self._append("Reshape", self._integers(1, attended, block.side, block.side))
        self._convolve(attended, channels, 1)
        self._append("Add", begin)

    def perceptron(self, block: FusedBlock) -> None:
        """Append the perceptron of a `TokenBlock`, and the sum with its input."""
        channels, hidden = block.widths
        begin = self.end
        self._convolve(channels, hidden, 1)
        self._append("Relu")
        self._convolve(hidden, channels, 1)
        self._append("Add", begin)

    def serialized(self, shape: tuple[int, ...]) -> bytes:
        """Return the model."""
        self.nodes[-1].output[0] = OUTPUT
        image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)
        logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "block", [image], [logits], self.constants)
        opsets = [helper.make_opsetid("", OPERATOR_SET)]
        model = onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=opsets, ir_version=FILE_FORMAT)
        )
        serialized: bytes = model.SerializeToString()
        return serialized

    def _convolve(self, inputs: int, outputs: int, kernel_side: int, *, stride: int = 1) -> None:
        before = (kernel_side - stride + 1) // 2
        scale = 1 / math.sqrt(inputs * kernel_side**2)
        weight = self.random.normal(0, scale, (outputs, inputs, kernel_side, kernel_side))
        bias = self.random.normal(0, 0.1, outputs)
        self._append(
            "Conv",
            *(self._constant(values.astype(np.float32)) for values in (weight, bias)),
            group=1,
            kernel_shape=[kernel_side] * 2,
            dilations=[1, 1],
            strides=[stride] * 2,
            pads=[before] * 4,
        )

    def _append(self, operator: str, *more_inputs: str, **attributes: Any) -> None:
        self.end = self._node(operator, self.end, *more_inputs, **attributes)

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _constant(self, values: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def _integers(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))
