"""What turns a network's input into logits on the device: one protocol, and ONNX Runtime behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.artifact.manifest import Manifest, read_artifact
from embedded_vit.errors import ConfigError, FileFormatError, NetworkError
from embedded_vit.provenance import available_cores

__all__ = ["Engine", "OnnxEngine", "session_options"]


class Engine(Protocol):
    """Anything that computes logits: an artifact on the device, or a network under training."""

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits.

        Args:
            image_bchw: (B, C, S, S) float32 in [-1, 1].

        Returns:
            (B, K, S, S) float32.
        """
        ...


class OnnxEngine:
    """An artifact in ONNX Runtime on the CPU, verified against its manifest."""

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest, source: str) -> None:
        self.manifest = manifest
        self._session = session
        self._source = source
        self._fixed_batch = session.get_inputs()[0].shape[0] == 1

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> Self:
        """Load an artifact.

        Args:
            path: A `.onnx` file made by `embedded-vit export`.
            threads: Cores to compute on; by default all that this process may use.

        Raises:
            FileFormatError: The file is no artifact, is damaged, or its graph is not what its manifest says.
            ConfigError: `threads` is less than 1.
        """
        if threads is not None and threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}")
        content, manifest = read_artifact(path)
        try:
            session = onnxruntime.InferenceSession(
                content,
                sess_options=session_options(threads, bf16=manifest.precision == "bf16"),
                providers=["CPUExecutionProvider"],
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise FileFormatError(
                f"{path}: ONNX Runtime cannot load it ({_first_line(error)}); export it again"
            ) from error
        _check_shapes(session, manifest, str(path))
        return cls(session, manifest, str(path))

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; a graph of fixed batch 1 runs once an image. See `Engine.run`.

        Raises:
            NetworkError: The input's shape is not the manifest's.
        """
        size, channels = self.manifest.preprocessing.image_size, self.manifest.preprocessing.input_channels
        if image_bchw.shape[1:] != (channels, size, size):
            raise NetworkError(
                f"{self._source}: input of shape {image_bchw.shape}, expected (batch, {channels}, {size}, {size})"
            )
        if self._fixed_batch and len(image_bchw) != 1:
            return np.concatenate([self._run(image[None]) for image in image_bchw])
        return self._run(image_bchw)

    def _run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        feed = {self._session.get_inputs()[0].name: np.ascontiguousarray(image_bchw, np.float32)}
        try:
            (logits,) = self._session.run(None, feed)
        except Exception as error:
            raise FileFormatError(f"{self._source}: ONNX Runtime cannot run it: {_first_line(error)}") from error
        result: NDArray[np.float32] = logits
        return result


def session_options(threads: int | None, *, bf16: bool = False) -> onnxruntime.SessionOptions:
    """How ONNX Runtime is set up here.

    Args:
        threads: Cores to compute on; by default all that this process may use.
        bf16: Whether to multiply in bfloat16 where the processor can.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Idle threads sleep: between two slices the core belongs to resizing, and on a shared computer to others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if bf16:  # only ARM processors that have it heed this
        options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "1")
    options.log_severity_level = 4  # errors come as exceptions; nothing is printed beside them
    return options


def _check_shapes(session: onnxruntime.InferenceSession, manifest: Manifest, source: str) -> None:
    """Refuse a graph whose one input and one output are not what the manifest says."""
    size = manifest.preprocessing.image_size
    _check_tensor(session.get_inputs(), "input", (manifest.preprocessing.input_channels, size, size), source)
    _check_tensor(session.get_outputs(), "output", (manifest.labels.classes, size, size), source)


def _check_tensor(tensors: list[Any], role: str, expected: tuple[int, int, int], source: str) -> None:
    if len(tensors) != 1:
        raise FileFormatError(f"{source}: the graph has {len(tensors)} {role}s, expected one; export it again")
    batch, *rest = tensors[0].shape or [None]
    batch_holds = batch == 1 or not isinstance(batch, int)  # a name where it is dynamic
    if tuple(rest) != expected or not batch_holds or tensors[0].type != "tensor(float)":
        raise FileFormatError(
            f"{source}: the graph's {role} is {tensors[0].type} {tensors[0].shape}, "
            f"its manifest says float (1, {', '.join(map(str, expected))}); export it again"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
