"""OpenVINO: an optional engine, the extra `openvino`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from embedded_vit.engines.engine import REASON_CHARACTERS, GraphEngine, GraphSettings, Tensor, first_line

__all__ = ["OpenVinoEngine"]


class OpenVinoEngine(GraphEngine):
    """A graph in OpenVINO."""

    title = "OpenVINO"
    version = openvino.__version__

    def _open(self, graph: bytes, settings: GraphSettings) -> Sequence[openvino.InferRequest]:
        options = {
            "INFERENCE_NUM_THREADS": settings.threads,
            "NUM_STREAMS": settings.streams,
            "INFERENCE_PRECISION_HINT": "bf16" if settings.bf16 else "f32",  # else OpenVINO chooses by itself
            "PERFORMANCE_HINT": "LATENCY",
            "LP_TRANSFORMS_MODE": settings.low_precision_transforms,
        }
        # Prepares the access to NumPy here; two threads that prepare it at once wait for ever (OpenVINO 2026.4).
        openvino.Tensor(np.zeros(1, np.float32)).data  # noqa: B018
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(graph), "CPU", options)
        self.inputs, self.outputs = ([_tensor(each) for each in ports] for ports in (compiled.inputs, compiled.outputs))
        # A busy request refuses a second caller, so each stream has its own.
        return [compiled.create_infer_request() for _ in range(settings.streams)]

    def _compute(self, session: openvino.InferRequest, images_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.infer([images_bchw])[0].copy()  # the next call overwrites it
        return logits

    def _reason(self, error: Exception) -> str:
        """Return the last line, because the lines before it name OpenVINO's source files."""
        return (str(error).strip().splitlines() or [first_line(error)])[-1][:REASON_CHARACTERS]


def _tensor(port: Any) -> Tensor:
    axes = [axis.get_length() if axis.is_static else None for axis in port.partial_shape]
    dtype = port.element_type.get_type_name()
    return Tensor({"f32": "float32"}.get(dtype, dtype), tuple(axes))
