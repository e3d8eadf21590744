"""Was the machine quiet enough? A refused figure is better than a wrong one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["busy_reasons", "latency_reasons", "too_few_reasons"]

LEAST_QUERIES = 10  # of each input
LEAST_QUERIES_FOR_DRIFT = 16
MAXIMUM_SPREAD = 1.25  # p90 over p50
MAXIMUM_DRIFT = 1.10  # between the medians of the four quarters of a run
SPARE_CORES = 0.1  # what the system itself may use beside the benchmark


def too_few_reasons(queries: int, *, samples: int = 1) -> list[str]:
    """Whether there are enough queries a model to tell noise from the network; a sentence where there are not."""
    if queries >= LEAST_QUERIES * samples:
        return []
    each = "" if samples == 1 else f" of {samples} different slices"
    return [f"{queries} queries a model{each} are too few, at least {LEAST_QUERIES * samples} are needed"]


def latency_reasons(name: str, latencies_ms: NDArray[np.float64], *, samples: int = 1) -> list[str]:
    """What in a model's own latencies forbids to trust them, one sentence each; empty when they may be.

    Slices differ, so each query is first divided by the median of the same slice's queries.

    Args:
        name: The model, for the sentence.
        latencies_ms: (queries,) in the order of measuring.
        samples: How many different slices were queried, one after another and again from the first.
    """
    queries = len(latencies_ms)
    relative = latencies_ms.copy()
    for first in range(samples):
        relative[first::samples] /= np.median(latencies_ms[first::samples])
    reasons = []
    p50, p90 = np.percentile(relative, [50, 90])
    if p90 > MAXIMUM_SPREAD * p50:
        reasons.append(f"{name}: p90 is {p90 / p50:.3f} times p50 for one and the same input, over {MAXIMUM_SPREAD}")
    if queries >= LEAST_QUERIES_FOR_DRIFT:
        medians = [float(np.median(quarter)) for quarter in np.array_split(relative, 4)]
        drift = max(medians) / min(medians)
        if drift > MAXIMUM_DRIFT:
            reasons.append(
                f"{name}: the medians of the run's quarters differ by a factor of {drift:.3f}, over {MAXIMUM_DRIFT:.2f}"
            )
    return reasons


def busy_reasons(*, threads: int, cores: int, load_before: float | None, other_cores_busy: float | None) -> list[str]:
    """What else the machine did that forbids to trust any latency, one sentence each.

    Args:
        threads: Of the benchmark.
        cores: That it may run on.
        load_before: Load average of one minute before the benchmark began; None where the system has none.
        other_cores_busy: Cores that other processes kept busy meanwhile; None where the system does not tell.
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
