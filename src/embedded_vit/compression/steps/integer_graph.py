"""Quantization of a float graph to int8: which layers become int8, and how.

Convolutions and products with a constant matrix are quantized. Everything else is computed in float: LayerNorm,
softmax, GELU, Gram matrices, temperatures, transposed convolutions and the last layer. By default ONNX Runtime
quantizes every operator and gives softmax the fixed range [0, 1], in which the weights of a softmax over a thousand
tokens round to zero. The matrices of channel attentions, which multiply no token, are only stored in 8 bits.

Activations have 8 bits, unsigned, with one scale per tensor; weights 7 bits, signed, with one scale per channel. With
weights of 8 bits, the sum of two products of an unsigned and a signed byte can exceed 16 bits, and processors without
VNNI saturate it silently: on `embedded-vit-64`, 0.233 % of the pixels changed their label instead of 0.089 %. With 7
bits this cannot happen, so a file gives the same result on every machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from embedded_vit.compression.steps.stored_weights import float_weights, store_as_int8, without_annotations
from embedded_vit.export.exporting import LayeredGraph
from embedded_vit.quiet import without_warnings

__all__ = ["FloatGraph"]

MULTIPLYING = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """A graph prepared for quantization, with its constants sorted by the network's layers.

    Attributes:
        content: A serialized ONNX model; products and sums are joined where the standard has an operator for both.
        nodes: Layer -> names of its nodes that can run in int8.
        constants: Layer -> names of its constant matrices and kernels.
        last: The layer that makes the logits.
    """

    content: bytes
    nodes: dict[str, list[str]]
    constants: dict[str, list[str]]
    last: str

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer with weights but the last one, in the order of the graph."""
        return tuple(layer for layer in self.constants if layer != self.last)

    @classmethod
    def of(cls, graph: LayeredGraph) -> FloatGraph:
        """Prepare a graph in float32."""
        # ONNX Runtime writes its advice to the root logger.
        with without_warnings(), tempfile.TemporaryDirectory() as folder:
            source, prepared = Path(folder, "float.onnx"), Path(folder, "prepared.onnx")
            source.write_bytes(graph.content)
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            content = prepared.read_bytes()
        model = onnx.load_from_string(content)
        matrices = [name for name, weight in float_weights(model).items() if _is_matrix(weight)]
        layer_of = {name: graph.layer_of.get(name, name) for name in matrices}  # its own name if it is in no layer
        dimensions = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
        nodes: dict[str, list[str]] = {}
        constants: dict[str, list[str]] = {}
        last = ""
        for node in model.graph.node:
            if node.op_type == "ConvTranspose":  # no engine runs it in int8
                continue
            weights = [name for name in node.input if name in layer_of]
            for name in weights:
                known = constants.setdefault(layer_of[name], [])
                if name not in known:
                    known.append(name)
            if weights and node.op_type in MULTIPLYING:
                last = layer_of[weights[-1]]
                if node.op_type == "Conv" or dimensions.get(node.input[1]) == 2:  # a matrix from the right
                    nodes.setdefault(last, []).append(node.name)
        return cls(content, nodes, constants, last)

    def quantised(self, layers: Collection[str], images: Sequence[NDArray[np.float32]]) -> bytes:
        """Return the graph with the given layers in int8.

        Args:
            layers: Some of `self.layers`; all others stay in float.
            images: Images that calibrate the ranges of activations, each (1, C, S, S) float32.

        Returns:
            A serialized ONNX model: float32 in and out, standard operators, QuantizeLinear and DequantizeLinear
            around every product.
        """
        chosen = [layer for layer in self.layers if layer in layers]
        nodes = [name for layer in chosen for name in self.nodes.get(layer, [])]
        model = self._with_integer_nodes(nodes, images) if nodes else onnx.load_from_string(self.content)
        store_as_int8(model, {name for layer in chosen for name in self.constants[layer]})
        return without_annotations(model)

    def _with_integer_nodes(self, nodes: list[str], images: Sequence[NDArray[np.float32]]) -> onnx.ModelProto:
        with without_warnings(), tempfile.TemporaryDirectory() as folder:
            source, output = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
            source.write_bytes(self.content)
            quantize_static(
                source,
                output,
                _Images(images, input_name=onnx.load_from_string(self.content).graph.input[0].name),
                quant_format=QuantFormat.QDQ,
                nodes_to_quantize=nodes,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                extra_options={"MatMulConstBOnly": True},
            )
            return onnx.load(output)


class _Images(CalibrationDataReader):
    """Images one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, images: Sequence[NDArray[np.float32]], *, input_name: str) -> None:
        self._feeds: Iterator[dict[str, NDArray[np.float32]]] = iter([{input_name: image} for image in images])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feeds, None)


def _is_matrix(weight: NDArray[np.float32]) -> bool:
    """Return whether a constant has rows and columns; a channel attention's temperatures, (heads, 1, 1), do not."""
    return sum(size > 1 for size in weight.shape) > 1
