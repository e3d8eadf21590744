"""What a benchmark found: `bench.json`, described in docs/benchmark.md."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import Self

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.benchmark.accuracy_gate import Accuracy
from embedded_vit.benchmark.queries import Scope
from embedded_vit.config import Config
from embedded_vit.costs.fresh_process import FreshProcess
from embedded_vit.engines.single_stream import EndedBy, PairedRatio
from embedded_vit.provenance import Machine

__all__ = ["MODEL_LETTERS", "BenchmarkResult", "Latencies", "Measurement", "Model", "Timing"]

MODEL_LETTERS = "AB"
LEAST_QUERIES_FOR_P90, LEAST_QUERIES_FOR_P99 = 10, 100  # with fewer, these would be one odd query


class Latencies(Config):
    """Wall time of one query, warm-up left out."""

    queries: int
    mean_ms: float
    minimum_ms: float
    p50_ms: float
    p90_ms: float | None = Field(description="None of fewer than 10 queries")
    p99_ms: float | None = Field(description="None of fewer than 100 queries")
    samples_ms: tuple[float, ...] = Field(description="every query in the order of measuring")

    @classmethod
    def of(cls, latencies_ms: NDArray[np.float64]) -> Self:
        """Sum up (queries,) latencies; percentiles are interpolated linearly between neighbours."""
        queries = len(latencies_ms)
        p50, p90, p99 = map(float, np.percentile(latencies_ms, [50, 90, 99]))
        return cls(
            queries=queries,
            mean_ms=float(latencies_ms.mean()),
            minimum_ms=float(latencies_ms.min()),
            p50_ms=p50,
            p90_ms=p90 if queries >= LEAST_QUERIES_FOR_P90 else None,
            p99_ms=p99 if queries >= LEAST_QUERIES_FOR_P99 else None,
            samples_ms=tuple(round(float(latency), 4) for latency in latencies_ms),
        )


class Model(Config):
    """What was benchmarked."""

    path: str
    sha256: str
    name: str = Field(description="of the network, from its manifest")
    precision: str
    file_bytes: int
    macs: int | None = Field(description="multiply-accumulates of one image")
    macs_counter: str = Field(description="who counted them, or why nobody could")


class Timing(Config):
    """One model on one number of threads."""

    engine: str
    engine_version: str
    latency: Latencies
    fresh_process: FreshProcess = Field(description="medians of several processes, one after another")
    joules_per_query: float | None


class Measurement(Config):
    """All models on one number of threads, in turns."""

    threads: int
    ended_by: EndedBy = Field(description="1024 queries a model, or the time that was given")
    seconds: float = Field(description="wall time of the measured queries, of all models together")
    timings: tuple[Timing, ...] = Field(description="in the order of the models")
    comparison: PairedRatio | None = Field(description="of two models")
    load_average_before: float | None
    load_average_after: float | None
    other_cores_busy: float | None = Field(description="cores that other processes kept busy meanwhile, on average")
    trusted: bool = Field(description="whether the machine was quiet enough for these figures")
    distrust_reasons: tuple[str, ...] = Field(description="why not, a sentence each")


class BenchmarkResult(Config):
    """A benchmark of one model or two."""

    format_version: Literal[1] = 1
    scope: Scope = Field(description="what one query is")
    input: str = Field(description="what the queries ran on")
    models: tuple[Model, ...]
    measurements: tuple[Measurement, ...] = Field(description="one for each number of threads")
    accuracy: Accuracy | None = Field(description="None without a data set")
    energy_source: str = Field(description="what counted the energy, or why nobody could")
    machine: Machine
    versions: dict[str, str]
    created: str = Field(description="ISO 8601, UTC")
    use: str = RESEARCH_USE_ONLY
