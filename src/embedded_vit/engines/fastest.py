"""Which engine is fastest for an artifact on this computer: measured once, then remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_vit.engines.engine import Engine
from embedded_vit.engines.example_inputs import example_image
from embedded_vit.engines.load import EngineName, load_engine
from embedded_vit.engines.registry import engine_version, installed_engines
from embedded_vit.engines.single_stream import single_stream
from embedded_vit.errors import FileFormatError
from embedded_vit.io.cache import recall, remember
from embedded_vit.io.digest import sha256_of
from embedded_vit.provenance import available_cores, processor_name

__all__ = ["FastestEngine", "fastest_engine"]

MEASURED = "fastest-engine"  # the file of the cache
ROUNDS, SECONDS_LIMIT = 30, 10.0


@dataclass(frozen=True)
class FastestEngine:
    """The choice, and why.

    Attributes:
        engine: The fastest.
        latency_ms: Engine -> median of one image; one that cannot run the artifact is not there.
    """

    engine: EngineName
    latency_ms: dict[str, float]

    def __str__(self) -> str:
        return ", ".join(f"{engine} {latency:.1f} ms" for engine, latency in sorted(self.latency_ms.items()))


def fastest_engine(path: Path, *, threads: int | None = None) -> FastestEngine:
    """Measure every installed engine that can run an artifact, in turns, or recall what was measured before.

    Args:
        path: The artifact.
        threads: Cores to compute on; by default all that this process may use.

    Raises:
        FileFormatError: The file is no artifact.
        ConfigError: `threads` is less than 1.
    """
    threads = available_cores() if threads is None else threads
    installed = " ".join(f"{engine} {engine_version(engine)}" for engine in installed_engines())
    key = f"{sha256_of(path)} {installed} {processor_name()} {threads} threads"
    latency_ms = recall(MEASURED, key)
    if not isinstance(latency_ms, dict):
        latency_ms = _measured(path, threads)
        remember(MEASURED, key, latency_ms)
    fastest: EngineName = min(latency_ms, key=lambda engine: latency_ms[engine])
    return FastestEngine(fastest, latency_ms)


def _measured(path: Path, threads: int) -> dict[str, float]:
    """Engine -> median in ms."""
    engines = [load_engine(path, "onnxruntime", threads=threads)]
    for name in installed_engines():
        if name == "onnxruntime":
            continue
        try:
            engines.append(load_engine(path, name, threads=threads))
        except FileFormatError:  # it crashes on this artifact, or gives other labels
            continue
    image = example_image(engines[0].manifest.preprocessing)
    medians_ms = _medians_ms(engines, image)
    return {engine.name: round(median_ms, 3) for engine, median_ms in zip(engines, medians_ms, strict=True)}


def _medians_ms(engines: Sequence[Engine], image_bchw: NDArray[np.float32]) -> list[float]:
    """The median time of one image in each engine, measured in turns."""
    queries = [partial(engine.run, image_bchw) for engine in engines]
    stream = single_stream(queries, rounds=ROUNDS, seconds_limit=SECONDS_LIMIT)
    medians_ms: list[float] = np.median(stream.latencies_ms, axis=0).tolist()
    return medians_ms
