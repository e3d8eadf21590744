"""ONNX Runtime behind the engine protocol: the engine that is always there."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from embedded_vit.engines.engine import Tensor, first_line, threads_each
from embedded_vit.errors import FileFormatError

__all__ = ["OnnxRuntimeEngine"]


class OnnxRuntimeEngine:
    """A serialized ONNX model in ONNX Runtime on the CPU.

    Args:
        graph: A serialized ONNX model with one input and one output.
        threads: Cores to compute on; by default all that this process may use.
        streams: Calls that compute at the same time, each on its share of the threads.
        bf16: Whether to multiply in bfloat16 where the processor can; only some ARM processors heed it.
        source: What the graph is called in messages.

    Raises:
        FileFormatError: ONNX Runtime cannot load the graph.
    """

    version = onnxruntime.__version__

    def __init__(
        self,
        graph: bytes,
        *,
        threads: int | None = None,
        streams: int = 1,
        bf16: bool = False,
        source: str = "graph",
    ) -> None:
        self.streams = streams
        self._source = source
        try:
            self._session = onnxruntime.InferenceSession(
                graph,
                sess_options=_session_options(threads_each(threads, streams), bf16),
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # to the same provider, with a notice on the standard output
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise FileFormatError(
                f"{source}: ONNX Runtime cannot load it ({first_line(error)}); export it again"
            ) from error
        self.inputs, self.outputs = (
            [_tensor(each) for each in tensors] for tensors in (self._session.get_inputs(), self._session.get_outputs())
        )

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; a graph of fixed batch 1 runs once an image. See `Engine.run`.

        Raises:
            FileFormatError: ONNX Runtime cannot run the graph.
        """
        if self.inputs[0].shape[0] == 1 and len(image_bchw) != 1:
            return np.concatenate([self._run(image[None]) for image in image_bchw])
        return self._run(image_bchw)

    def _run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        feed = {self._session.get_inputs()[0].name: np.ascontiguousarray(image_bchw, np.float32)}
        try:
            logits: NDArray[np.float32] = self._session.run(None, feed)[0]
        except Exception as error:
            raise FileFormatError(f"{self._source}: ONNX Runtime cannot run it: {first_line(error)}") from error
        return logits


def _session_options(threads: int, bf16: bool) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # one: the caller's own
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Idle threads sleep: between two slices the core belongs to resizing, and on a shared computer to others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if bf16:
        options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "1")
    options.log_severity_level = 4  # errors come as exceptions; nothing is printed beside them
    return options


def _tensor(described: onnxruntime.NodeArg) -> Tensor:
    dtype = {"tensor(float)": "float32"}.get(described.type, described.type)
    return Tensor(dtype, tuple(axis if isinstance(axis, int) else None for axis in described.shape or ()))
