"""LiteRT (TensorFlow Lite): an optional engine, the extra `litert`. It computes in float32 on every processor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from embedded_vit.artifact.onnx_graph import read_graph
from embedded_vit.engines.engine import GraphEngine, GraphSettings, Tensor
from embedded_vit.engines.litert.graph import litert_model

__all__ = ["LiteRtEngine"]


class LiteRtEngine(GraphEngine):
    """A graph in LiteRT, translated when it is opened; quantized graphs and batches are refused."""

    title = "LiteRT"
    version = metadata.version("ai-edge-litert")

    def _open(self, graph: bytes, settings: GraphSettings) -> Sequence[Interpreter]:
        model = litert_model(read_graph(graph))
        with _silent_stderr():  # LiteRT prints its choice of kernels there
            interpreters = [
                Interpreter(model_content=model, num_threads=settings.threads_each) for _ in range(settings.streams)
            ]
            for interpreter in interpreters:
                interpreter.allocate_tensors()
        [image], [logits] = interpreters[0].get_input_details(), interpreters[0].get_output_details()
        self.inputs, self.outputs = [_tensor(image)], [_tensor(logits)]
        self._image, self._logits = image["index"], logits["index"]
        return interpreters

    def _compute(self, session: Interpreter, images_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        session.set_tensor(self._image, images_bchw)
        session.invoke()
        logits: NDArray[np.float32] = session.get_tensor(self._logits)  # a copy
        return logits


def _tensor(details: Mapping[str, Any]) -> Tensor:
    return Tensor(np.dtype(details["dtype"]).name, tuple(map(int, details["shape"])))


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep the output of native code off the terminal."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
