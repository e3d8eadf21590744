"""ONNX Runtime, the engine that is always installed. Its profile also lists the nodes that a graph computes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from embedded_vit.boundary import PASSED_ON
from embedded_vit.engines.engine import GraphEngine, GraphSettings, Tensor, first_line
from embedded_vit.errors import FileFormatError

__all__ = ["ExecutedNode", "OnnxRuntimeEngine", "executed_nodes"]

PROVIDERS = ["CPUExecutionProvider"]
SILENT = 4  # errors come as exceptions; nothing is printed


class OnnxRuntimeEngine(GraphEngine):
    """A graph in ONNX Runtime."""

    title = "ONNX Runtime"
    version = onnxruntime.__version__

    def _open(self, graph: bytes, settings: GraphSettings) -> Sequence[onnxruntime.InferenceSession]:
        session = onnxruntime.InferenceSession(
            graph,
            sess_options=_session_options(settings),
            providers=PROVIDERS,
            enable_fallback=0,  # to the same provider, with a notice on the standard output
        )
        self.inputs, self.outputs = (
            [_tensor(each) for each in tensors] for tensors in (session.get_inputs(), session.get_outputs())
        )
        self._input_name = session.get_inputs()[0].name
        return [session] * settings.streams  # it may be called in several threads at once

    @property
    def _takes_batches(self) -> bool:
        return self.inputs[0].shape[0] != 1

    def _compute(self, session: onnxruntime.InferenceSession, images_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, {self._input_name: images_bchw})[0]
        return logits


def _session_options(settings: GraphSettings) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads_each  # one: the caller's own
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Idle threads sleep, because between two slices the cores are needed for resizing and for other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if settings.bf16:
        options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "1")
    options.log_severity_level = SILENT
    return options


def _tensor(described: onnxruntime.NodeArg) -> Tensor:
    dtype = {"tensor(float)": "float32"}.get(described.type, described.type)
    return Tensor(dtype, tuple(axis if isinstance(axis, int) else None for axis in described.shape or ()))


@dataclass(frozen=True)
class ExecutedNode:
    """A node of a graph as it was computed.

    Attributes:
        operator: Name in ONNX's standard domain, for example Conv.
        inputs, outputs: Shapes of the tensors.
    """

    operator: str
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


def executed_nodes(graph: bytes, *, source: str) -> list[ExecutedNode]:
    """Run a graph as written, on one image of zeros, and return its nodes with the shapes of their tensors.

    Args:
        graph: A serialized ONNX model with one input of known shape; the batch may be of any length.
        source: The graph's name in messages.

    Raises:
        FileFormatError: ONNX Runtime cannot run the graph.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")  # else weights lose their shapes
    options.intra_op_num_threads = 1
    options.log_severity_level = SILENT
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=PROVIDERS)
            image = session.get_inputs()[0]
            session.run(None, {image.name: np.zeros((1, *image.shape[1:]), np.float32)})
        except PASSED_ON:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise FileFormatError(f"{source}: ONNX Runtime cannot run it: {first_line(error)}") from error
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [_executed_node(event["args"]) for event in events if str(event.get("name", "")).endswith("_kernel_time")]


def _executed_node(arguments: dict[str, Any]) -> ExecutedNode:
    inputs, outputs = (
        tuple(tuple(shape) for tensor in arguments[key] for shape in tensor.values())
        for key in ("input_type_shape", "output_type_shape")
    )
    return ExecutedNode(arguments["op_name"], inputs, outputs)
