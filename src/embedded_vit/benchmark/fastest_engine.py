"""Which engine is fastest for an artifact on this computer: measured once, then remembered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedded_vit.benchmark.latency import example_image, paired_latency_of
from embedded_vit.errors import FileFormatError
from embedded_vit.io.cache import recall, remember
from embedded_vit.io.digest import sha256_of
from embedded_vit.provenance import available_cores, processor_name
from embedded_vit.runtime.engines import EngineName, load_engine
from embedded_vit.runtime.graph_engines import engine_version, installed_engines

__all__ = ["FastestEngine", "fastest_engine"]

MEASURED = "fastest-engine"  # the file of the cache


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
    latencies = paired_latency_of(engines, [image] * len(engines), seconds_limit=10)
    return {engine.name: round(latency.p50_ms, 3) for engine, latency in zip(engines, latencies, strict=True)}
