"""How long built-in models take on the computer at hand."""

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
    """What was measured, and on what.

    Attributes:
        median_ms: Name -> median of one image.
        where: Engine, threads and processor, for people.
    """

    median_ms: dict[str, float]
    where: str


def latency_here(models: Sequence[BuiltinModel], *, threads: int | None = None) -> LatencyHere:
    """Measure one image of each model in ONNX Runtime, in turns.

    Args:
        models: Any number.
        threads: Cores to compute on; by default all that this process may use.

    Raises:
        ConfigError: `threads` is less than 1.
    """
    threads = available_cores() if threads is None else threads
    where = f"ONNX Runtime, threads: {threads}, {processor_name()}"
    if not models:
        return LatencyHere({}, where)
    latencies = paired_latency([model.path for model in models], threads=threads, seconds_limit=SECONDS_LIMIT)
    return LatencyHere({model.name: latency.p50_ms for model, latency in zip(models, latencies, strict=True)}, where)
