"""Budgets and candidates."""

from __future__ import annotations

import optuna
import pytest

from embedded_vit.errors import ConfigError, NetworkError
from embedded_vit.search.space import Budget, Candidate, SearchSettings, first_candidates, suggest


def settings(**given) -> SearchSettings:
    return SearchSettings.parse({"budget": Budget.read("macs=1e9"), "threads": 1, **given}, source="test")


@pytest.mark.parametrize(
    ("text", "limit"), [("latency_ms=5", 5.0), ("macs=2e8", 2e8), ("parameters=1000000", 1e6), ("latency_ms=0.5", 0.5)]
)
def test_a_budget_is_a_name_and_a_number(text: str, limit: float) -> None:
    assert Budget.read(text).limit == limit


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("latency=5", "did you mean 'latency_ms'"),
        ("joules=5", "latency_ms, macs, parameters"),
        ("latency_ms", "expected a number above 0"),
        ("latency_ms=fast", "expected a number above 0"),
        ("latency_ms=0", "expected a number above 0"),
        ("macs=nan", "expected a number above 0"),
    ],
)
def test_another_budget_is_refused(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Budget.read(text)


def test_image_sizes_are_put_in_order_and_must_fit_the_network() -> None:
    assert settings(image_sizes=(96, 64, 96)).image_sizes == (64, 96)
    with pytest.raises(NetworkError, match="multiple of 8"):
        settings(image_sizes=(64, 100))


def test_candidates_stay_within_what_was_asked_and_fit_the_network() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = settings(image_sizes=(64, 96), context_slices=(3,))
    found = [suggest(study.ask(), asked) for _ in range(50)]
    assert {candidate.image_size for candidate in found} == {64, 96}
    assert {candidate.context_slices for candidate in found} == {3}
    assert {candidate.depth for candidate in found} == {1, 2}
    assert {candidate.hidden_ratio for candidate in found} == {2, 3, 4}
    assert all(width % 8 == 0 for candidate in found for width in candidate.widths)


def test_the_first_candidates_are_the_smallest_networks_with_a_name() -> None:
    study = optuna.create_study()
    for known in first_candidates():
        study.enqueue_trial(known)
    published = Candidate(image_size=64, widths=(32, 80), depth=1, hidden_ratio=4, context_slices=1)
    ours = published.model_copy(update={"convolution_widths": (12, 24)})
    assert [suggest(study.ask(), settings()) for _ in first_candidates()] == [published, ours]
