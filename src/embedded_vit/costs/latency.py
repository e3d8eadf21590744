"""How long one image takes: engines measured in turns, so that a busy moment of the machine meets all of them alike."""

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
        p50_ms, p90_ms: Median and ninth decile over the repeats.
        repeats: How many were measured, warm-up left out.
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
        paths: Artifacts of any input size.
        engine: The engine; "auto" takes the fastest for each artifact.
        threads: Cores to compute on.
        repeats, warmup, seconds_limit: As `paired_latency_of` takes them.

    Returns:
        One result a path; their ratios are worth more than the numbers.

    Raises:
        FileFormatError: A file is no artifact.
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
        engines: In whatever backend.
        images: One an engine, (1, C, S, S) float32.
        repeats: Rounds to measure.
        warmup: Rounds before them that do not count.
        seconds_limit: No new round begins after so many seconds of measuring, once three rounds are there.

    Returns:
        One result an engine.
    """
    queries = [partial(engine.run, image) for engine, image in zip(engines, images, strict=True)]
    stream = single_stream(queries, rounds=repeats, seconds_limit=seconds_limit, warmup=warmup)
    quantiles = np.percentile(stream.latencies_ms, [50, 90], axis=0)  # (2, engines)
    return [Latency(float(p50), float(p90), len(stream.latencies_ms)) for p50, p90 in quantiles.T]
