"""Checks whether a measured latency can be trusted; no figure is better than a wrong one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["busy_reasons", "latency_reasons", "too_few_reasons"]

LEAST_QUERIES = 10  # of each input
LEAST_QUERIES_FOR_DRIFT = 16
MAXIMUM_SPREAD = 1.25  # p90 over p50
MAXIMUM_DRIFT = 1.10  # between the medians of the four quarters of a run
SPARE_CORES = 0.1  # that the operating system may use during the benchmark


def too_few_reasons(queries: int, *, samples: int = 1) -> list[str]:
    """Return a sentence if there are too few queries per model to judge the noise, else an empty list."""
    if queries >= LEAST_QUERIES * samples:
        return []
    each = "" if samples == 1 else f" of {samples} different slices"
    return [f"{queries} queries per model{each} are too few; at least {LEAST_QUERIES * samples} are needed"]


def latency_reasons(name: str, latencies_ms: NDArray[np.float64], *, samples: int = 1) -> list[str]:
    """Return why a model's latencies cannot be trusted, one sentence each; an empty list if they can.

    Slices differ, so each latency is first divided by the median latency of the same slice.

    Args:
        name: The model, for the sentences.
        latencies_ms: (queries,) in the order of measurement.
        samples: Number of different slices that were queried in turns.
    """
    queries = len(latencies_ms)
    relative = latencies_ms.copy()
    for first in range(min(samples, queries)):  # a slow computer does not come to all of them
        relative[first::samples] /= np.median(latencies_ms[first::samples])
    reasons = []
    p50, p90 = np.percentile(relative, [50, 90])
    if p90 > MAXIMUM_SPREAD * p50:
        reasons.append(f"{name}: p90 is {p90 / p50:.3f} times p50 for the same input, more than {MAXIMUM_SPREAD}")
    if queries >= LEAST_QUERIES_FOR_DRIFT:
        medians = [float(np.median(quarter)) for quarter in np.array_split(relative, 4)]
        drift = max(medians) / min(medians)
        if drift > MAXIMUM_DRIFT:
            reasons.append(
                f"{name}: the medians of the four quarters differ by a factor of {drift:.3f}, more than "
                f"{MAXIMUM_DRIFT:.2f}"
            )
    return reasons


def busy_reasons(*, threads: int, cores: int, load_before: float | None, other_cores_busy: float | None) -> list[str]:
    """Return why the load of the machine makes every latency unreliable, one sentence each.

    Args:
        threads: Threads of the benchmark.
        cores: Cores that the benchmark may use.
        load_before: Load average of the minute before the benchmark; None where the system has none.
        other_cores_busy: Cores that other processes kept busy during the benchmark; None where it is not known.
    """
    reasons = []
    if threads > cores:
        reasons.append(f"{threads} threads on {cores} cores wait for each other")
    if load_before is not None and load_before > cores:
        reasons.append(f"the load average was {load_before:.2f} before the benchmark, more than the {cores} cores")
    if other_cores_busy is not None and threads <= cores < threads + other_cores_busy - SPARE_CORES:
        reasons.append(
            f"other processes kept {other_cores_busy:.2f} cores busy, and only {cores - threads} of {cores} were free"
        )
    return reasons
