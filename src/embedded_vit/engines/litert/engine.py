"""LiteRT (TensorFlow Lite) behind the engine protocol; an optional dependency, imported when an engine is made."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.artifact.onnx_graph import read_graph
from embedded_vit.engines.engine import Tensor, borrowed, first_line, threads_each
from embedded_vit.errors import ConfigError, FileFormatError, missing_extra

__all__ = ["LITERT_PACKAGE", "LiteRtEngine", "litert_is_installed"]

LITERT_PACKAGE = "ai-edge-litert"


def litert_is_installed() -> bool:
    """Whether the extra `litert` is there; does not import it."""
    return importlib.util.find_spec("ai_edge_litert") is not None


class LiteRtEngine:
    """A serialized ONNX model, translated, in LiteRT on the CPU; float32 whatever the processor can.

    Args:
        graph: A serialized ONNX model with one input and one output.
        threads: Cores to compute on; by default all that this process may use.
        streams: Calls that compute at the same time, each on its share of the threads.
        source: What the graph is called in messages.

    Raises:
        ConfigError: LiteRT is not installed.
        FileFormatError: The graph computes in integers, takes several images at a time, or cannot be translated.
    """

    def __init__(self, graph: bytes, *, threads: int | None = None, streams: int = 1, source: str = "graph") -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter

            from embedded_vit.engines.litert.graph import litert_model
        except ImportError as error:
            raise ConfigError(missing_extra("LiteRT", "litert")) from error
        self.version = version(LITERT_PACKAGE)
        self.streams = streams
        self._source = source
        self._interpreters: SimpleQueue[Any] = SimpleQueue()  # that are idle
        try:
            model = litert_model(read_graph(graph))
            with _silent_stderr():  # it announces its choice of kernels there
                for _ in range(streams):
                    interpreter = Interpreter(model_content=model, num_threads=threads_each(threads, streams))
                    interpreter.allocate_tensors()
                    self._interpreters.put(interpreter)
        except (ValueError, RuntimeError) as error:
            raise FileFormatError(f"{source}: LiteRT cannot run it: {first_line(error)}") from error
        [self._input], [self._output] = interpreter.get_input_details(), interpreter.get_output_details()
        self.inputs, self.outputs = [_tensor(self._input)], [_tensor(self._output)]

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits, image by image; see `Engine.run`.

        Raises:
            FileFormatError: LiteRT cannot run the graph.
        """
        try:
            with borrowed(self._interpreters) as interpreter:
                logits = [self._run(interpreter, image[None]) for image in image_bchw]
        except (ValueError, RuntimeError) as error:
            raise FileFormatError(f"{self._source}: LiteRT cannot run it: {first_line(error)}") from error
        return np.concatenate(logits)

    def _run(self, interpreter: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(self._input["index"], image.astype(np.float32, copy=False))
        interpreter.invoke()
        logits: NDArray[np.float32] = interpreter.get_tensor(self._output["index"])
        return logits


def _tensor(details: Mapping[str, Any]) -> Tensor:
    return Tensor(np.dtype(details["dtype"]).name, tuple(map(int, details["shape"])))


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Nothing that native code prints comes through."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
