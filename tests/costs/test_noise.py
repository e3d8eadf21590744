from __future__ import annotations

import numpy as np
import pytest

from embedded_vit.costs.noise import busy_reasons, latency_reasons, too_few_reasons

QUIET = {"threads": 1, "cores": 2, "load_before": 0.4, "other_cores_busy": 0.02}


def steady() -> np.ndarray:
    """400 latencies of 10 ms, a tenth of a millisecond up and down."""
    return 10 + 0.1 * np.tile([0, 1, -1, 1, -1, 0, 1, -1], 50)


def test_a_steady_run_is_trusted() -> None:
    assert latency_reasons("A", steady()) == []


def test_a_wide_spread_is_not() -> None:
    latencies_ms = steady()
    latencies_ms[::5] = 16.1  # every fifth query meets something else
    [reason] = latency_reasons("A", latencies_ms)
    assert "A: p90 is 1.6" in reason


def test_nor_is_a_run_that_becomes_slower() -> None:
    latencies_ms = steady()
    latencies_ms[300:] *= 1.15
    [reason] = latency_reasons("B", latencies_ms)
    assert "quarters differ by a factor of 1.15" in reason


def test_slices_that_differ_are_no_noise_but_one_slice_that_does_is() -> None:
    latencies_ms = steady() * np.tile([1.0, 1.5, 2.0, 3.0], 100)  # four slices in turns
    assert latency_reasons("A", latencies_ms, samples=4) == []
    assert latency_reasons("A", latencies_ms, samples=1) != []
    latencies_ms[::20] *= 2  # a fifth of the first slice's queries
    latencies_ms[1::20] *= 2
    latencies_ms[2::20] *= 2
    [reason] = latency_reasons("A", latencies_ms, samples=4)
    assert "p90" in reason


@pytest.mark.filterwarnings("error")
def test_slices_that_were_not_queried_do_not_count() -> None:
    assert latency_reasons("A", np.array([39745.0, 40013.0, 39579.0]), samples=16) == []


def test_a_few_queries_tell_nothing() -> None:
    assert too_few_reasons(10) == []
    assert too_few_reasons(9) == ["9 queries per model are too few; at least 10 are needed"]
    assert too_few_reasons(159, samples=16) != []


def test_a_quiet_machine_and_one_that_says_nothing_are_trusted() -> None:
    assert busy_reasons(**QUIET) == []
    assert busy_reasons(threads=2, cores=2, load_before=None, other_cores_busy=None) == []
    assert busy_reasons(threads=1, cores=2, load_before=1.5, other_cores_busy=0.9) == []  # a core of its own


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"load_before": 2.3}, "load average was 2.30"),
        ({"other_cores_busy": 1.36}, "1.36 cores busy, and only 1 of 2"),
        ({"threads": 2, "other_cores_busy": 0.4}, "only 0 of 2"),
        ({"threads": 3, "other_cores_busy": 0.4}, "3 threads on 2 cores"),
    ],
)
def test_a_busy_machine_is_not(change: dict[str, float], words: str) -> None:
    [reason] = busy_reasons(**(QUIET | change))
    assert words in reason
