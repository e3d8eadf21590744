"""Latency of one image. Engines are measured in turns, so that a busy moment of the machine slows all of them alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_vit.engines import Engine, EngineChoice, example_image, load
from embedded_vit.engines.single_stream import Query, single_stream

__all__ = ["Latency", "paired_latency", "paired_latency_of", "steady_latency_ms", "steady_ratio"]

UNINTERRUPTED_PERCENTILE = 10


@dataclass(frozen=True)
class Latency:
    """Wall time of one image.

    Attributes:
        p50_ms, p90_ms: Median and 90th percentile over the repeats, in milliseconds.
        repeats: Number of measurements, warm-up not counted.
    """

    p50_ms: float
    p90_ms: float
    repeats: int


def steady_latency_ms(
    queries: Sequence[Query], *, threads: int, rounds: int = 50, seconds_limit: float = 10.0
) -> NDArray[np.float64]:
    """Measure queries in turns; return latencies whose ratios and differences do not depend on the machine's load.

    Where processes share a core, a long query is interrupted more often than a short one, so the ratio of two medians
    of the time that passes depends on the load. On one thread the time that this process computes does not; on several
    threads that time says nothing. Either way the 10th percentile leaves out what was interrupted, or was computed
    while another virtual machine slowed the core down.

    Args:
        queries: One function for each model; a call answers one query.
        threads: Threads that each query computes on.
        rounds: Rounds to measure.
        seconds_limit: As `single_stream`.

    Returns:
        (queries,) in ms.
    """
    alone = threads == 1
    stream = single_stream(queries, rounds=rounds, seconds_limit=seconds_limit, processor_time=alone)
    steady_ms: NDArray[np.float64] = np.percentile(stream.latencies_ms, UNINTERRUPTED_PERCENTILE, axis=0)
    return steady_ms


def steady_ratio(
    path: Path, reference: Path, *, engine: EngineChoice = "onnxruntime", threads: int = 1
) -> tuple[float, float]:
    """Measure an artifact in turns with another one.

    Args:
        path, reference: The artifacts.
        engine: The engine; "auto" takes the fastest for each artifact.
        threads: Threads to compute on.

    Returns:
        The artifact's latency over the reference's, and the reference's in ms; see `steady_latency_ms`.

    Raises:
        FileFormatError: A file is not an artifact.
    """
    engines = [load(each, engine, threads=threads) for each in (path, reference)]
    queries = [partial(each.run, example_image(each.manifest.preprocessing)) for each in engines]
    path_ms, reference_ms = map(float, steady_latency_ms(queries, threads=threads, rounds=100, seconds_limit=30))
    return path_ms / reference_ms, reference_ms


def paired_latency(
    paths: Sequence[Path],
    *,
    engine: EngineChoice = "onnxruntime",
    threads: int = 1,
    repeats: int = 30,
    warmup: int = 3,
    seconds_limit: float = 60.0,
) -> list[Latency]:
    """Measure artifacts in turns: A, B, A, B, ...

    Args:
        paths: Artifacts, of any input size.
        engine: The engine; "auto" takes the fastest for each artifact.
        threads: Threads to compute on.
        repeats, warmup, seconds_limit: As `paired_latency_of` takes them.

    Returns:
        One result per path; their ratios are more reliable than the latencies.

    Raises:
        FileFormatError: A file is not an artifact.
    """
    engines = [load(path, engine, threads=threads) for path in paths]
    images = [example_image(engine.manifest.preprocessing) for engine in engines]
    return paired_latency_of(engines, images, repeats=repeats, warmup=warmup, seconds_limit=seconds_limit)


def paired_latency_of(
    engines: Sequence[Engine],
    images: Sequence[NDArray[np.float32]],
    *,
    repeats: int = 30,
    warmup: int = 3,
    seconds_limit: float = 60.0,
) -> list[Latency]:
    """Measure any engines in turns, one image each.

    Args:
        engines: Engines of any backend.
        images: One image per engine, (1, C, S, S) float32.
        repeats: Rounds to measure.
        warmup: Rounds before them that are not counted.
        seconds_limit: No new round starts after this time in seconds, once three rounds are done.

    Returns:
        One result per engine.
    """
    queries = [partial(engine.run, image) for engine, image in zip(engines, images, strict=True)]
    stream = single_stream(queries, rounds=repeats, seconds_limit=seconds_limit, warmup=warmup)
    quantiles = np.percentile(stream.latencies_ms, [50, 90], axis=0)  # (2, engines)
    return [Latency(float(p50), float(p90), len(stream.latencies_ms)) for p50, p90 in quantiles.T]
