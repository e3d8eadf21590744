"""Latency, one query at a time, as in MLPerf's single stream. Several models are measured in turns, compared in pairs.

When models take turns, a busy moment of the machine slows all of them, so the ratio within a pair is steadier than the
ratio of two medians.

Source: Reddi et al., "MLPerf Inference Benchmark", 1911.02549, section IV: single stream, at least 1,024 queries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from embedded_vit.config import Config

__all__ = ["LEAST_ROUNDS", "ROUNDS", "EndedBy", "PairedRatio", "Query", "Stream", "paired_ratio", "single_stream"]

ROUNDS = 1024
LEAST_ROUNDS = 3  # measured even beyond the time limit
RESAMPLES = 2000
SEED = 0  # the same latencies give the same interval

Query = Callable[[], object]
EndedBy = Literal["queries", "seconds"]


@dataclass(frozen=True, eq=False)
class Stream:
    """Measured latencies.

    Attributes:
        latencies_ms: (rounds, models) float64, without the warm-up; a row is one query of each model, back to back.
        ended_by: "queries" if all rounds were measured, "seconds" if the time limit came first.
        seconds: Wall time of the measured rounds.
    """

    latencies_ms: NDArray[np.float64]
    ended_by: EndedBy
    seconds: float


def single_stream(
    queries: Sequence[Query],
    *,
    rounds: int = ROUNDS,
    seconds_limit: float = 60.0,
    warmup: int = LEAST_ROUNDS,
    rest_seconds: float = 0.0,
    processor_time: bool = False,
) -> Stream:
    """Measure queries in turns: A, B, A, B, ...

    Args:
        queries: One function for each model; a call answers one query.
        rounds: Rounds to measure.
        seconds_limit: Time in seconds after which no new round starts, once `LEAST_ROUNDS` are measured.
        warmup: First rounds that are not counted.
        rest_seconds: Pause before each query, for libraries whose idle threads spin for a while and would slow down the
            next query.
        processor_time: Count the time that this process computes in place of the time that passes: for queries on one
            thread the same, but for the moments when other processes have the core.
    """
    clock = time.process_time if processor_time else time.perf_counter
    for _ in range(warmup):
        for query in queries:
            query()
    latencies_ms: list[list[float]] = []
    begin = time.perf_counter()
    elapsed = 0.0
    while len(latencies_ms) < rounds and (len(latencies_ms) < LEAST_ROUNDS or elapsed < seconds_limit):
        latencies_ms.append([_latency_ms(query, rest_seconds, clock) for query in queries])
        elapsed = time.perf_counter() - begin
    return Stream(np.array(latencies_ms), "queries" if len(latencies_ms) == rounds else "seconds", elapsed)


def _latency_ms(query: Query, rest_seconds: float, clock: Callable[[], float]) -> float:
    if rest_seconds:
        time.sleep(rest_seconds)
    begin = clock()
    query()
    return 1000 * (clock() - begin)


class PairedRatio(Config):
    """Speed-up of the second model over the first: the first's latency divided by the second's, pair by pair."""

    median: float = Field(description="above 1 the second model is faster")
    low: float = Field(description="lower end of the median's 95 % interval, by bootstrap over the pairs")
    high: float = Field(description="upper end of the interval")
    wins: int = Field(description="pairs in which the second model was faster")
    pairs: int


def paired_ratio(latencies_ms: NDArray[np.float64], *, resamples: int = RESAMPLES) -> PairedRatio:
    """Compare two models pair by pair, with a percentile bootstrap over the pairs.

    Args:
        latencies_ms: (pairs, 2), in ms.
        resamples: Number of bootstrap samples; each draws as many pairs as there are, with replacement.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    ratios = latencies_ms[:, 0] / latencies_ms[:, 1]
    drawn = np.random.default_rng(SEED).choice(ratios, (resamples, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return PairedRatio(
        median=float(np.median(ratios)),
        low=float(low),
        high=float(high),
        wins=int((ratios > 1).sum()),
        pairs=len(ratios),
    )
