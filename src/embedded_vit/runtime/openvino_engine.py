"""OpenVINO behind the engine protocol; an optional dependency, imported when an engine is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.errors import ConfigError, FileFormatError
from embedded_vit.provenance import available_cores

__all__ = ["OpenVinoEngine"]


class OpenVinoEngine:
    """A serialized ONNX model of batch 1 in OpenVINO on the CPU.

    Args:
        graph: A serialized ONNX model with one input and one output.
        threads: Cores to compute on; by default all that this process may use.
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
        bf16: bool = False,
        low_precision_transforms: bool = True,
        source: str = "graph",
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ConfigError("OpenVINO is not installed; pip install 'embedded-vit[openvino]'") from error
        settings = {
            "INFERENCE_NUM_THREADS": threads or available_cores(),
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "LP_TRANSFORMS_MODE": low_precision_transforms,
        }
        core = openvino.Core()
        try:
            self._request = core.compile_model(core.read_model(graph), "CPU", settings).create_infer_request()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise FileFormatError(f"{source}: OpenVINO cannot compile it ({reason:.160}); use ONNX Runtime") from error

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> Self:
        """Load an artifact, in bfloat16 if its manifest says so.

        Raises:
            ConfigError: OpenVINO is not installed.
            FileFormatError: The file is no artifact or is damaged, or OpenVINO cannot compile it.
        """
        content, manifest = read_artifact(path)
        return cls(content, threads=threads, bf16=manifest.precision == "bf16", source=str(path))

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits, image by image: (B, C, S, S) float32 in [-1, 1] -> (B, K, S, S) float32."""
        logits = [self._request.infer([np.ascontiguousarray(image[None])])[0].copy() for image in image_bchw]
        result: NDArray[np.float32] = np.concatenate(logits)
        return result
