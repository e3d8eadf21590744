"""OpenVINO behind the engine protocol; an optional dependency, imported when an engine is made."""

from __future__ import annotations

import importlib.util
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.engines.engine import Tensor, borrowed
from embedded_vit.errors import ConfigError, FileFormatError, missing_extra
from embedded_vit.provenance import available_cores

__all__ = ["OpenVinoEngine", "openvino_is_installed"]


def openvino_is_installed() -> bool:
    """Whether the extra `openvino` is there; does not import it."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoEngine:
    """A serialized ONNX model in OpenVINO on the CPU.

    Args:
        graph: A serialized ONNX model with one input and one output.
        threads: Cores to compute on; by default all that this process may use.
        streams: Calls that compute at the same time, each on its share of the threads.
        bf16: Whether to compute in bfloat16 where the processor can; OpenVINO would otherwise decide that by itself.
        low_precision_transforms: Whether quantised graphs are computed in integers; otherwise in float32, with the
            same roundings.
        source: What the graph is called in messages.

    Raises:
        ConfigError: OpenVINO is not installed.
        FileFormatError: It cannot compile the graph.
    """

    def __init__(
        self,
        graph: bytes,
        *,
        threads: int | None = None,
        streams: int = 1,
        bf16: bool = False,
        low_precision_transforms: bool = True,
        source: str = "graph",
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ConfigError(missing_extra("OpenVINO", "openvino")) from error
        settings = {
            "INFERENCE_NUM_THREADS": threads or available_cores(),
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "LP_TRANSFORMS_MODE": low_precision_transforms,
        }
        # Makes its access to numpy ready, for which two threads at once would wait for ever (seen in 2026.4).
        openvino.Tensor(np.zeros(1, np.float32)).data  # noqa: B018
        self.version: str = openvino.__version__
        self.streams = streams
        self._source = source
        core = openvino.Core()
        try:
            compiled = core.compile_model(core.read_model(graph), "CPU", settings)
        except RuntimeError as error:
            raise FileFormatError(f"{source}: OpenVINO cannot compile it: {_last_line(error)}") from error
        self.inputs, self.outputs = ([_tensor(each) for each in ports] for ports in (compiled.inputs, compiled.outputs))
        self._requests: SimpleQueue[Any] = SimpleQueue()  # that are idle: a busy one refuses a second caller
        for _ in range(streams):
            self._requests.put(compiled.create_infer_request())

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits, image by image; see `Engine.run`.

        Raises:
            FileFormatError: OpenVINO cannot run the graph.
        """
        images = [np.ascontiguousarray(image[None], np.float32) for image in image_bchw]
        try:
            with borrowed(self._requests) as request:
                logits = [request.infer([image])[0].copy() for image in images]
        except RuntimeError as error:
            raise FileFormatError(f"{self._source}: OpenVINO cannot run it: {_last_line(error)}") from error
        result: NDArray[np.float32] = np.concatenate(logits)
        return result


def _tensor(port: Any) -> Tensor:
    axes = [axis.get_length() if axis.is_static else None for axis in port.partial_shape]
    dtype = port.element_type.get_type_name()
    return Tensor({"f32": "float32"}.get(dtype, dtype), tuple(axes))


def _last_line(error: RuntimeError) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:160]
