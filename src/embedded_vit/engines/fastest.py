"""The fastest engine for a network on this computer, measured once for a model file and then cached."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.engines.artifact_engine import load_tried
from embedded_vit.engines.engine import Engine
from embedded_vit.engines.example_inputs import example_image
from embedded_vit.engines.registry import EngineName, engine_entry, installed_engines
from embedded_vit.engines.single_stream import single_stream
from embedded_vit.engines.trial import open_tried
from embedded_vit.errors import FileFormatError
from embedded_vit.io.cache import recall, remember
from embedded_vit.io.digest import sha256_of
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.provenance import available_cores, processor_name

__all__ = ["FastestEngine", "fastest_engine", "fastest_for_graph"]

MEASURED = "fastest-engine"  # the file of the cache
ROUNDS, SECONDS_LIMIT = 30, 10.0

Opened = TypeVar("Opened", bound=Engine)


@dataclass(frozen=True)
class FastestEngine:
    """The fastest engine, and the latencies that decided.

    Attributes:
        engine: The fastest engine.
        latency_ms: Engine -> median of one image, in ms. Engines that cannot run the graph are missing.
    """

    engine: EngineName
    latency_ms: dict[EngineName, float]

    @classmethod
    def of(cls, latency_ms: dict[EngineName, float]) -> Self:
        """Choose by measured latencies."""
        return cls(min(latency_ms, key=lambda engine: latency_ms[engine]), latency_ms)

    def __str__(self) -> str:
        return ", ".join(f"{engine} {latency:.1f} ms" for engine, latency in sorted(self.latency_ms.items()))


def fastest_engine(path: Path, *, threads: int | None = None) -> FastestEngine:
    """Measure every installed engine that can run a model file, in turns, or read the cached result.

    Args:
        path: The model file.
        threads: Cores to compute on; by default all that this process may use.

    Raises:
        FileFormatError: The file is not an artifact.
        ConfigError: `threads` is less than 1.
    """
    threads = available_cores() if threads is None else threads
    installed = " ".join(f"{engine} {engine_entry(engine).version}" for engine in installed_engines())
    key = f"{sha256_of(path)} {installed} {processor_name()} {threads} threads"
    latency_ms = recall(MEASURED, key)
    if not isinstance(latency_ms, dict):
        engines = _usable(lambda name: load_tried(path, name, threads=threads))
        latency_ms = _latency_ms(engines, engines["onnxruntime"].manifest.preprocessing)
        remember(MEASURED, key, latency_ms)
    return FastestEngine.of(latency_ms)


def fastest_for_graph(graph: bytes, preprocessing: Preprocessing, *, threads: int | None = None) -> FastestEngine:
    """Measure every installed engine that can run a float32 graph, in turns.

    Args:
        graph: A serialized ONNX model.
        preprocessing: The network's preprocessing, which gives the shape of the input.
        threads: Cores to compute on; by default all that this process may use.

    Raises:
        FileFormatError: ONNX Runtime cannot run the graph.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "graph.onnx")
        path.write_bytes(graph)
        engines = _usable(lambda name: open_tried(path, graph, name, threads=threads))
        return FastestEngine.of(_latency_ms(engines, preprocessing))


def _usable(open_in: Callable[[EngineName], Opened]) -> dict[EngineName, Opened]:
    """Open a graph in every installed engine that can run it; ONNX Runtime must be able to."""
    engines: dict[EngineName, Opened] = {"onnxruntime": open_in("onnxruntime")}
    for name in installed_engines():
        if name not in engines:
            with suppress(FileFormatError):  # it crashes on this graph, refuses it, or gives other labels
                engines[name] = open_in(name)
    return engines


def _latency_ms(engines: Mapping[EngineName, Engine], preprocessing: Preprocessing) -> dict[EngineName, float]:
    """Return the median of one image in each engine, in ms."""
    medians_ms = _medians_ms(list(engines.values()), example_image(preprocessing))
    return {name: round(median_ms, 3) for name, median_ms in zip(engines, medians_ms, strict=True)}


def _medians_ms(engines: Sequence[Engine], image_bchw: NDArray[np.float32]) -> list[float]:
    """Measure engines in turns; return their medians."""
    queries = [partial(engine.run, image_bchw) for engine in engines]
    stream = single_stream(queries, rounds=ROUNDS, seconds_limit=SECONDS_LIMIT)
    medians_ms: list[float] = np.median(stream.latencies_ms, axis=0).tolist()
    return medians_ms
