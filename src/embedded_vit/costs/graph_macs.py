"""Multiply-accumulates of an artifact, counted from the shapes that ONNX Runtime meets while it runs the file's graph.

So what is counted is the file itself, pruned, quantised or a user's own, and PyTorch is not needed. The graph runs as
it was written, before ONNX Runtime fuses anything; convolutions and matrix products count, as everywhere here.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from embedded_vit.errors import FileFormatError

__all__ = ["COUNTER", "count_macs", "node_macs"]

COUNTER = "convolutions and matrix products by the shapes in ONNX Runtime's profile of the unfused graph"


def count_macs(graph: bytes, *, source: str) -> int:
    """Count the multiply-accumulates of one image.

    Args:
        graph: A serialized ONNX model with one input of known shape, the batch apart.
        source: What it is called in messages.

    Raises:
        FileFormatError: ONNX Runtime cannot run the graph.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")  # else weights lose their shapes
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            image = session.get_inputs()[0]
            session.run(None, {image.name: np.zeros((1, *image.shape[1:]), np.float32)})
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise FileFormatError(f"{source}: ONNX Runtime cannot run it: {str(error)[:200]!r}") from error
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return sum(_event_macs(event) for event in events if str(event.get("name", "")).endswith("_kernel_time"))


def _event_macs(event: dict[str, Any]) -> int:
    inputs, outputs = (
        [shape for tensor in event["args"][key] for shape in tensor.values()]
        for key in ("input_type_shape", "output_type_shape")
    )
    return node_macs(event["args"]["op_name"], inputs, outputs)


def node_macs(operator: str, inputs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> int:
    """Multiply-accumulates of one node; 0 for whatever is no convolution and no matrix product.

    Args:
        operator: Its name in ONNX's standard domain.
        inputs, outputs: Shapes.
    """
    if operator == "MatMul":  # (..., M, N) x (..., N, P) -> (..., M, P)
        return math.prod(outputs[0]) * inputs[0][-1]
    if operator == "Gemm":  # (M, N) or its transpose, -> (M, P)
        return math.prod(inputs[0]) * outputs[0][1]
    if operator == "Conv":  # kernel (out, in / groups, height, width)
        return math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if operator == "ConvTranspose":  # kernel (in, out / groups, height, width)
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    return 0
