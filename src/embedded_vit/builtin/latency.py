"""Latency of built-in models on this computer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedded_vit.builtin.index import BuiltinModel
from embedded_vit.costs.latency import paired_latency
from embedded_vit.provenance import available_cores, processor_name

__all__ = ["LatencyHere", "latency_here"]

SECONDS_LIMIT = 10.0


@dataclass(frozen=True)
class LatencyHere:
    """Latencies measured on this computer.

    Attributes:
        median_ms: Name -> median latency of one image in ms.
        where: Engine, threads and processor, in words.
    """

    median_ms: dict[str, float]
    where: str


def latency_here(models: Sequence[BuiltinModel], *, threads: int | None = None) -> LatencyHere:
    """Measure the latency of one image in ONNX Runtime, the models in turns.

    Args:
        models: Any number of built-in models.
        threads: Cores to compute on; by default all cores of this process.

    Raises:
        ConfigError: `threads` is less than 1.
    """
    threads = available_cores() if threads is None else threads
    where = f"ONNX Runtime, threads: {threads}, {processor_name()}"
    if not models:
        return LatencyHere({}, where)
    latencies = paired_latency([model.path for model in models], threads=threads, seconds_limit=SECONDS_LIMIT)
    return LatencyHere({model.name: latency.p50_ms for model, latency in zip(models, latencies, strict=True)}, where)
