from __future__ import annotations

import numpy as np
import pytest
import scripted_clock
from artifact_fixtures import threshold_graph
from scripted_clock import Clock

from embedded_vit.costs.latency import paired_latency, paired_latency_of
from embedded_vit.engines import example_image
from embedded_vit.preprocessing import Preprocessing

IMAGE = np.zeros((1, 1, 8, 8), np.float32)


class TimedEngine:
    """An engine that takes the milliseconds it is told to, one after another."""

    def __init__(self, name: str, clock: Clock, calls: list[str], *milliseconds: float) -> None:
        self.answer = clock.query(name, calls, *milliseconds)

    def run(self, image_bchw):
        self.answer()
        return image_bchw


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return scripted_clock.install(monkeypatch)


def test_engines_take_turns_and_the_warm_up_does_not_count(clock: Clock) -> None:
    calls: list[str] = []
    engines = [TimedEngine("A", clock, calls, 900, 1, 2, 3), TimedEngine("B", clock, calls, 900, 10, 20, 30)]
    of_a, of_b = paired_latency_of(engines, [IMAGE, IMAGE], repeats=3, warmup=1)
    assert calls == ["A", "B"] * 4
    assert (of_a.p50_ms, of_b.p50_ms) == (pytest.approx(2), pytest.approx(20))
    assert (of_a.p90_ms, of_a.repeats) == (pytest.approx(2.8), 3)


def test_a_slow_engine_ends_at_the_limit_but_not_before_three_rounds(clock: Clock) -> None:
    (slow,) = paired_latency_of([TimedEngine("A", clock, [], 4000)], [IMAGE], repeats=100, seconds_limit=1)
    assert slow.repeats == 3
    (quicker,) = paired_latency_of([TimedEngine("B", clock, [], 400)], [IMAGE], repeats=100, seconds_limit=3)
    assert quicker.repeats == 8


def test_artifacts_of_different_sizes_are_measured_together(make_artifact) -> None:
    small = make_artifact()
    large = make_artifact(
        threshold_graph(size=64), "large.onnx", preprocessing=Preprocessing.for_modality("CT", image_size=64)
    )
    results = paired_latency([small, large], repeats=4, warmup=1)
    assert [result.repeats for result in results] == [4, 4]
    assert all(0 < result.p50_ms <= result.p90_ms for result in results)


def test_the_example_image_has_the_networks_shape_and_is_always_the_same() -> None:
    preprocessing = Preprocessing.for_modality("CT", image_size=16, context_slices=3)
    image = example_image(preprocessing)
    assert (image.shape, image.dtype) == ((1, 3, 16, 16), np.float32)
    assert -1 <= image.min() < image.max() <= 1
    np.testing.assert_array_equal(image, example_image(preprocessing))
