"""Lower precision: weights stored in float16, or weights and activations of 8 bits."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from pydantic import Field

from embedded_vit.artifact.export import onnx_graph
from embedded_vit.compression.step import Product, Step, Workshop
from embedded_vit.training.checkpoint import Checkpoint

__all__ = ["Quantize"]

SMALLEST_STORED_IN_HALF = 64  # elements; a scale or a bias is not worth a node of its own


class Quantize(Step):
    """Makes a file of lower precision; nothing can train it on."""

    name: ClassVar[str] = "quantize"

    precision: Literal["fp16", "int8"]
    calibration_slices: int = Field(default=64, ge=1, description="training slices that ranges are measured on")

    def apply(self, before: Checkpoint, workshop: Workshop, folder: Path, protected: frozenset[str]) -> Product:
        """Quantize; see `Step.apply`."""
        graph = onnx_graph(before.network, before.config.preprocessing)
        if self.precision == "fp16":
            return Product(before, stored_in_half(graph), "fp16")
        nodes = [name for name in self.units(before) if name not in protected]
        quantized = with_8_bits(graph, nodes, workshop.probe_images(self.calibration_slices))
        return Product(before, quantized, "int8", {"nodes_in_8_bits": len(nodes)})

    def units(self, before: Checkpoint) -> tuple[str, ...]:
        """The nodes of the graph that multiply by weights; see `Step.units`."""
        if self.precision == "fp16":
            return ()
        return weighted_nodes(onnx_graph(before.network, before.config.preprocessing))

    def damaged(self, before: Checkpoint, unit: str, workshop: Workshop) -> GraphEngine:
        """One node in 8 bits; see `Step.damaged`."""
        graph = onnx_graph(before.network, before.config.preprocessing)
        return GraphEngine(with_8_bits(graph, [unit], workshop.probe_images(8)))


class GraphEngine:
    """A serialized ONNX model of batch 1 in ONNX Runtime, without a manifest: for trials within a step."""

    def __init__(self, graph: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see `embedded_vit.runtime.engine.Engine.run`."""
        return np.concatenate([self._session.run(None, {"image": image[None]})[0] for image in image_bchw])


def stored_in_half(graph: bytes) -> bytes:
    """Store every larger weight in float16 and widen it when the graph is loaded; all products stay in float32.

    Half of the bytes at the speed of before: a processor without float16 instructions could only lose by more.
    """
    model = onnx.load_from_string(graph)
    widened = []
    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.size < SMALLEST_STORED_IN_HALF:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(array.astype(np.float16), f"{name}_half"))
        widened.append(helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*widened, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def weighted_nodes(graph: bytes) -> tuple[str, ...]:
    """Names of the convolutions and matrix products by a constant weight, without the last layer.

    Softmax, LayerNorm, GELU and products of two activations are none of them: in 8 bits a softmax over a thousand
    tokens rounds to zero.
    """
    model = onnx.load_from_string(graph)
    constants = {weight.name for weight in model.graph.initializer}
    names = [
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "MatMul", "Gemm") and node.input[1] in constants
    ]
    return tuple(names[:-1])


def with_8_bits(graph: bytes, nodes: Sequence[str], images: Sequence[NDArray[np.float32]]) -> bytes:
    """Quantize nodes: weights per channel in 7 bits of int8, activations in uint8 by the ranges that images show.

    Seven bits, because processors without VNNI add pairs of products in 16 bits, which eight would overflow.

    Args:
        graph: A serialized ONNX model.
        nodes: Names from `weighted_nodes`.
        images: Each (1, C, S, S) float32, to calibrate on.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "quantized"))
        plain.write_bytes(graph)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True, skip_optimization=True)
        quantize_static(
            prepared,
            quantized,
            _Images(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=list(nodes),
            extra_options={"MatMulConstBOnly": True},
        )
        return quantized.read_bytes()


class _Images(CalibrationDataReader):
    def __init__(self, images: Sequence[NDArray[np.float32]]) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input of the graph, None after the last."""
        image = next(self._left, None)
        return None if image is None else {"image": image}
