"""What turns a network's input into logits: the protocol that every engine follows, and an artifact in one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedded_vit.artifact.manifest import Manifest
from embedded_vit.errors import FileFormatError, NetworkError
from embedded_vit.provenance import available_cores

__all__ = ["ArtifactEngine", "Engine", "GraphEngine", "Tensor", "borrowed", "first_line", "threads_each"]

Lent = TypeVar("Lent")


class Engine(Protocol):
    """Anything that computes logits: an artifact on the device, or a network under training."""

    @property
    def streams(self) -> int:
        """How many calls of `run` compute at the same time; further ones wait."""
        ...

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits.

        Args:
            image_bchw: (B, C, S, S) float32 in [-1, 1].

        Returns:
            (B, K, S, S) float32.
        """
        ...


class Tensor(NamedTuple):
    """An input or output of a graph; an axis of any length is None."""

    dtype: str
    shape: tuple[int | None, ...]


class GraphEngine(Engine, Protocol):
    """A serialized ONNX model in a library that runs it."""

    @property
    def version(self) -> str:
        """Of the library."""
        ...

    @property
    def inputs(self) -> list[Tensor]: ...

    @property
    def outputs(self) -> list[Tensor]: ...


class ArtifactEngine:
    """An artifact, ready to run, its graph checked against its manifest.

    Args:
        graph: The artifact's graph.
        manifest: What the artifact says of it.
        name: Of the engine, one of `embedded_vit.engines.registry.ENGINES`.
        source: The artifact's path, for messages.

    Raises:
        FileFormatError: The graph's one input and one output are not what the manifest says.
    """

    def __init__(self, graph: GraphEngine, manifest: Manifest, *, name: str, source: str) -> None:
        size = manifest.preprocessing.image_size
        _check(graph.inputs, "input", (manifest.preprocessing.input_channels, size, size), source)
        _check(graph.outputs, "output", (manifest.labels.classes, size, size), source)
        self.manifest, self.name, self.version = manifest, name, graph.version
        self._graph, self._source = graph, source

    @property
    def streams(self) -> int:
        """Calls that compute at the same time."""
        return self._graph.streams

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see `Engine.run`.

        Raises:
            NetworkError: The input's shape is not the manifest's.
            FileFormatError: The engine cannot run the graph.
        """
        size, channels = self.manifest.preprocessing.image_size, self.manifest.preprocessing.input_channels
        if image_bchw.shape[1:] != (channels, size, size):
            raise NetworkError(
                f"{self._source}: input of shape {image_bchw.shape}, expected (batch, {channels}, {size}, {size})"
            )
        return self._graph.run(image_bchw)


def threads_each(threads: int | None, streams: int) -> int:
    """What a stream has of an engine's threads, which are all that this process may use where None is given."""
    return max(1, (threads or available_cores()) // streams)


@contextmanager
def borrowed(idle: SimpleQueue[Lent]) -> Iterator[Lent]:
    """One of those that nobody uses, for as long as the block lasts; waits for it."""
    one = idle.get()
    try:
        yield one
    finally:
        idle.put(one)


def _check(tensors: list[Tensor], role: str, expected: tuple[int, int, int], source: str) -> None:
    if len(tensors) != 1:
        raise FileFormatError(f"{source}: the graph has {len(tensors)} {role}s, expected one; export it again")
    batch, *rest = tensors[0].shape or (None,)
    if tuple(rest) != expected or batch not in (1, None) or tensors[0].dtype != "float32":
        raise FileFormatError(
            f"{source}: the graph's {role} is {tensors[0].dtype} {tensors[0].shape}, "
            f"its manifest says float32 (1, {', '.join(map(str, expected))}); export it again"
        )


def first_line(error: Exception) -> str:
    """What a library's exception says, in one short line."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
