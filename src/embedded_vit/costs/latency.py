"""Latency of one image. Engines are measured in turns, so that a busy moment of the machine slows all of them alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_vit.engines import Engine, EngineChoice, example_image, load
from embedded_vit.engines.single_stream import single_stream

__all__ = ["Latency", "paired_latency", "paired_latency_of"]


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
