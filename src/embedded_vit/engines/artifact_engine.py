"""A model file in an engine, its graph checked against its manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_vit.artifact.manifest import Manifest, read_artifact
from embedded_vit.engines.engine import GraphEngine, Tensor
from embedded_vit.engines.registry import EngineName, check_threads, engine_entry
from embedded_vit.engines.trial import open_tried
from embedded_vit.errors import FileFormatError, NetworkError

__all__ = ["ArtifactEngine", "load_tried"]


class ArtifactEngine:
    """A model file, ready to run.

    Attributes:
        manifest: The file's manifest.
        name: The engine, one of `embedded_vit.engines.ENGINES`.
        version: The version of the engine's library.
    """

    def __init__(self, graph: GraphEngine, manifest: Manifest, *, name: EngineName, source: str) -> None:
        """Check a graph against the manifest of its file.

        Args:
            graph: The file's graph.
            manifest: The file's manifest.
            name: The engine that `graph` is opened in.
            source: The file's path, for messages.

        Raises:
            FileFormatError: The graph's input and output differ from the manifest.
        """
        size, output_size = manifest.preprocessing.image_size, manifest.preprocessing.output_size
        _check(graph.inputs, "input", (manifest.preprocessing.input_channels, size, size), source)
        _check(graph.outputs, "output", (manifest.labels.classes, output_size, output_size), source)
        self.manifest, self.name, self.version = manifest, name, graph.version
        self._graph, self._source = graph, source

    @property
    def streams(self) -> int:
        """The number of calls of `run` that compute at the same time; further calls wait."""
        return self._graph.streams

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see `Engine.run`.

        Raises:
            NetworkError: The input's shape differs from the manifest.
            FileFormatError: The engine cannot run the graph.
        """
        size, channels = self.manifest.preprocessing.image_size, self.manifest.preprocessing.input_channels
        if image_bchw.shape[1:] != (channels, size, size):
            raise NetworkError(
                f"{self._source}: input of shape {image_bchw.shape}, expected (batch, {channels}, {size}, {size})"
            )
        return self._graph.run(image_bchw)


def load_tried(path: Path, name: EngineName, *, threads: int | None = None, streams: int = 1) -> ArtifactEngine:
    """Load a model file into one engine; see `embedded_vit.engines.load`.

    Every model file was checked in ONNX Runtime when it was made, and no engine may give other masks. So any other
    engine is tried first.
    """
    check_threads(threads, streams)
    engine_entry(name)
    content, manifest = read_artifact(path)
    graph = open_tried(
        path,
        content,
        name,
        threads=threads,
        streams=streams,
        bf16=manifest.in_bfloat16,
        int8=manifest.is_int8,
    )
    return ArtifactEngine(graph, manifest, name=name, source=str(path))


def _check(tensors: list[Tensor], role: str, expected: tuple[int, int, int], source: str) -> None:
    if len(tensors) != 1:
        raise FileFormatError(f"{source}: the graph has {len(tensors)} {role}s, expected one; export it again")
    batch, *rest = tensors[0].shape or (None,)
    if tuple(rest) != expected or batch not in (1, None) or tensors[0].dtype != "float32":
        raise FileFormatError(
            f"{source}: the graph's {role} is {tensors[0].dtype} {tensors[0].shape}, "
            f"its manifest says float32 (1, {', '.join(map(str, expected))}); export it again"
        )
