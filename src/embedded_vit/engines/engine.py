"""The protocol of all engines, which turn a network's input into logits, and the base of the engines for graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from embedded_vit.boundary import PASSED_ON
from embedded_vit.errors import FileFormatError

__all__ = ["Engine", "GraphEngine", "GraphSettings", "Tensor", "first_line"]

REASON_CHARACTERS = 200  # of a library's message


class Engine(Protocol):
    """Anything that computes logits: a model file on a device, or a network under training."""

    @property
    def streams(self) -> int:
        """The number of calls of `run` that compute at the same time; further calls wait."""
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


@dataclass(frozen=True)
class GraphSettings:
    """How an engine computes a graph; `embedded_vit.engines.open_graph` describes the fields."""

    threads: int
    streams: int
    bf16: bool
    low_precision_transforms: bool
    source: str

    @property
    def threads_each(self) -> int:
        """The number of threads of one stream."""
        return max(1, self.threads // self.streams)


class GraphEngine(ABC):
    """A serialized ONNX model in a library that computes it on the CPU.

    A subclass opens the graph and computes images. This class does the rest: callers wait for a free stream, a batch
    is computed image by image, and exceptions of the library become a `FileFormatError`.

    Attributes:
        title: The library's name in messages.
        version: The library's version.
        inputs, outputs: The inputs and outputs of the graph.
        streams: See `Engine.streams`.
    """

    title: ClassVar[str]
    version: str
    inputs: list[Tensor]
    outputs: list[Tensor]

    def __init__(self, graph: bytes, settings: GraphSettings) -> None:
        """Open a graph.

        Args:
            graph: A serialized ONNX model with one input and one output.
            settings: How to compute it.

        Raises:
            FileFormatError: The library cannot load the graph.
        """
        self.streams = settings.streams
        self._source = settings.source
        self._idle: SimpleQueue[Any] = SimpleQueue()
        try:
            for session in self._open(graph, settings):
                self._idle.put(session)
        except PASSED_ON:
            raise
        except Exception as error:  # the libraries' exceptions share no base
            raise FileFormatError(f"{self._source}: {self.title} cannot load it: {self._reason(error)}") from error

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see `Engine.run`.

        Raises:
            FileFormatError: The library cannot run the graph, or a logit is NaN or infinite.
        """
        images = np.ascontiguousarray(image_bchw, np.float32)
        parts = [images] if self._takes_batches else [images[place : place + 1] for place in range(len(images))]
        try:
            with self._idle_session() as session:
                logits = [self._compute(session, part) for part in parts]
        except PASSED_ON:
            raise
        except Exception as error:  # as above
            raise FileFormatError(f"{self._source}: {self.title} cannot run it: {self._reason(error)}") from error
        answer = logits[0] if len(logits) == 1 else np.concatenate(logits)
        refuse_not_finite(answer, self._source, self.title)
        return answer

    @abstractmethod
    def _open(self, graph: bytes, settings: GraphSettings) -> Sequence[Any]:
        """Load the graph, set `inputs` and `outputs`, and return one session per stream."""

    @abstractmethod
    def _compute(self, session: Any, images_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the logits of one image, or of a batch where `_takes_batches`; the result belongs to the caller."""

    @property
    def _takes_batches(self) -> bool:
        """Whether `_compute` takes several images."""
        return False

    def _reason(self, error: Exception) -> str:
        """Return the line of the library's message that names the fault."""
        return first_line(error)

    @contextmanager
    def _idle_session(self) -> Iterator[Any]:
        """Wait for a free session and borrow it."""
        session = self._idle.get()
        try:
            yield session
        finally:
            self._idle.put(session)


def refuse_not_finite(logits: NDArray[np.float32], source: str, title: str) -> None:
    """Refuse logits that are NaN or infinite: argmax would call them background, without a word.

    Raises:
        FileFormatError: One is not finite.
    """
    if not np.isfinite(logits).all():
        raise FileFormatError(
            f"{source}: the network answers NaN or infinity in {title}: its weights are damaged, or too large for its "
            "precision; export it again"
        )


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, at most 200 characters, or its type if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:REASON_CHARACTERS]
