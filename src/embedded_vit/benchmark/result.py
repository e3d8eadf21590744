"""The result of a benchmark, `bench.json`; docs/benchmark.md describes it."""

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
LEAST_QUERIES_FOR_P90, LEAST_QUERIES_FOR_P99 = 10, 100  # with fewer, a single outlier would decide


class Latencies(Config):
    """Wall time of one query, without the warm-up."""

    queries: int
    mean_ms: float
    minimum_ms: float
    p50_ms: float
    p90_ms: float | None = Field(description="None for fewer than 10 queries")
    p99_ms: float | None = Field(description="None for fewer than 100 queries")
    samples_ms: tuple[float, ...] = Field(description="latency of every query, in the order of measurement")

    @classmethod
    def of(cls, latencies_ms: NDArray[np.float64]) -> Self:
        """Summarise (queries,) latencies; percentiles are interpolated linearly."""
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
    """A model file that was benchmarked."""

    path: str
    sha256: str
    name: str = Field(description="name of the network, from its manifest")
    precision: str
    file_bytes: int
    macs: int | None = Field(description="multiply-accumulates of one image")
    macs_counter: str = Field(description="how the MACs were counted, or why they could not be counted")


class Timing(Config):
    """The figures of one model on one number of threads."""

    engine: str
    engine_version: str
    latency: Latencies
    fresh_process: FreshProcess = Field(description="medians over several processes, run one after another")
    joules_per_query: float | None


class Measurement(Config):
    """The measurement of all models in turns, on one number of threads."""

    threads: int
    ended_by: EndedBy = Field(description="what ended it: 1024 queries per model, or the time limit")
    seconds: float = Field(description="wall time of the measured queries of all models together")
    timings: tuple[Timing, ...] = Field(description="in the order of the models")
    comparison: PairedRatio | None = Field(description="comparison of two models; None for one")
    load_average_before: float | None
    load_average_after: float | None
    other_cores_busy: float | None = Field(
        description="mean number of cores that other processes kept busy during the measurement"
    )
    trusted: bool = Field(description="whether the machine was quiet enough for these figures")
    distrust_reasons: tuple[str, ...] = Field(description="why they are not trusted, one sentence each")


class BenchmarkResult(Config):
    """A benchmark of one model or two."""

    format_version: Literal[1] = 1
    scope: Scope = Field(description="work of one query")
    input: str = Field(description="input of the queries")
    models: tuple[Model, ...]
    measurements: tuple[Measurement, ...] = Field(description="one for each number of threads")
    accuracy: Accuracy | None = Field(description="None without a data set")
    energy_source: str = Field(description="how energy was measured, or why it could not be measured")
    machine: Machine
    versions: dict[str, str]
    created: str = Field(description="ISO 8601, UTC")
    use: str = RESEARCH_USE_ONLY
