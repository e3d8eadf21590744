from __future__ import annotations

import numpy as np
import pytest
import scripted_clock

from embedded_vit.benchmark.result import Latencies
from embedded_vit.engines.single_stream import ROUNDS, paired_ratio, single_stream


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> scripted_clock.Clock:
    return scripted_clock.install(monkeypatch)


def test_models_take_turns_and_the_warm_up_does_not_count(clock: scripted_clock.Clock) -> None:
    calls: list[str] = []
    queries = [clock.query("A", calls, 900, 1, 2, 3), clock.query("B", calls, 900, 10, 20, 30)]
    stream = single_stream(queries, rounds=3, warmup=1)
    assert calls == ["A", "B"] * 4
    np.testing.assert_allclose(stream.latencies_ms, [[1, 10], [2, 20], [3, 30]])
    assert (stream.ended_by, stream.seconds) == ("queries", pytest.approx(0.066))


def test_a_rest_before_each_query_is_no_part_of_its_latency(clock: scripted_clock.Clock) -> None:
    stream = single_stream([clock.query("A", [], 5)], rounds=2, warmup=1, rest_seconds=0.02)
    np.testing.assert_allclose(stream.latencies_ms, 5)
    assert stream.seconds == pytest.approx(0.05)


def test_1024_queries_end_it_unless_the_time_is_over_before(clock: scripted_clock.Clock) -> None:
    quick = single_stream([clock.query("A", [], 1)])
    assert (len(quick.latencies_ms), quick.ended_by) == (ROUNDS, "queries")
    slow = single_stream([clock.query("A", [], 400)], seconds_limit=3)
    assert (len(slow.latencies_ms), slow.ended_by) == (8, "seconds")


def test_three_rounds_are_measured_however_little_time_there_is(clock: scripted_clock.Clock) -> None:
    stream = single_stream([clock.query("A", [], 4000)], seconds_limit=1)
    assert (len(stream.latencies_ms), stream.ended_by) == (3, "seconds")


def test_percentiles_are_those_of_the_latencies() -> None:
    latencies = Latencies.of(np.random.default_rng(0).permutation(np.arange(1.0, 102)))
    assert (latencies.queries, latencies.minimum_ms, latencies.mean_ms) == (101, 1, 51)
    assert (latencies.p50_ms, latencies.p90_ms, latencies.p99_ms) == (51, 91, 100)


def test_percentiles_that_one_odd_query_would_decide_are_left_out() -> None:
    assert Latencies.of(np.arange(1.0, 100)).p99_ms is None
    assert Latencies.of(np.arange(1.0, 100)).p90_ms is not None
    assert Latencies.of(np.arange(1.0, 10)).p90_ms is None
    assert Latencies.of(np.array([3.0, 1.0, 2.0])).p50_ms == 2


def test_a_drift_that_meets_both_models_leaves_their_ratio_alone() -> None:
    of_b = np.linspace(1, 4, 50)
    ratio = paired_ratio(np.stack([2 * of_b, of_b], axis=1))
    assert (ratio.median, ratio.low, ratio.high) == (2, 2, 2)
    assert (ratio.wins, ratio.pairs) == (50, 50)


def test_the_interval_holds_the_median_and_shrinks_with_more_pairs() -> None:
    ratios = np.random.default_rng(1).normal(1.5, 0.2, 900)
    latencies_ms = np.stack([ratios, np.ones_like(ratios)], axis=1)
    few, many = paired_ratio(latencies_ms[:30]), paired_ratio(latencies_ms)
    assert few.low < few.median < few.high
    assert many.low < 1.5 < many.high
    assert many.high - many.low < (few.high - few.low) / 2
    assert many == paired_ratio(latencies_ms)


def test_pairs_that_the_first_model_wins_or_draws_are_no_wins() -> None:
    ratio = paired_ratio(np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]]))
    assert (ratio.wins, ratio.pairs, ratio.median) == (1, 3, 1)
