"""Budgets and candidates."""

from __future__ import annotations

import optuna
import pytest

from embedded_vit.errors import ConfigError, NetworkError
from embedded_vit.models.registry import PRESETS, build_network, network_config
from embedded_vit.search.space import (
    Budget,
    Candidate,
    SearchSettings,
    _levels_that_fit,
    first_candidates,
    suggest,
)


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
    asked = settings(image_sizes=(64, 96), context_slices=(3,), family="dual")
    found = [suggest(study.ask(), asked) for _ in range(50)]
    assert {candidate.image_size for candidate in found} == {64, 96}
    assert {candidate.context_slices for candidate in found} == {3}
    assert {candidate.depth for candidate in found} == {1, 2}
    assert {candidate.hidden_ratio for candidate in found} == {2, 3, 4}
    assert all(width % 8 == 0 for candidate in found for width in candidate.widths)


def test_hybrid_candidates_are_networks_in_whole_blocks() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = settings(image_sizes=(64, 96, 200, 224), family="hybrid")
    found = [suggest(study.ask(), asked) for _ in range(200)]
    for candidate in found:
        network_config(classes=3, **candidate.architecture())  # refuses what the image cannot be halved for
        assert all(width % 16 == 0 and width <= 256 for width in candidate.widths)
        tokens = candidate.image_size // (candidate.stem_stride * 2 ** (len(candidate.widths) - 1))
        assert tokens >= 4 or len(candidate.widths) == 2
    assert {candidate.family for candidate in found} == {"hybrid"}
    assert {candidate.stem_stride for candidate in found} == {1, 2, 4}
    assert {len(candidate.widths) for candidate in found} >= {3, 4, 5}
    assert {candidate.depth for candidate in found} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("image_size", "stem_stride", "levels", "expected"),
    [(128, 2, 4, 4), (128, 2, 5, 5), (128, 4, 5, 4), (64, 4, 5, 3), (200, 1, 5, 4), (200, 4, 4, 2), (32, 4, 3, 2)],
)
def test_a_level_that_the_image_cannot_have_is_left_out(image_size, stem_stride, levels, expected) -> None:
    assert _levels_that_fit(image_size, stem_stride, levels) == expected


def test_the_first_hybrid_candidates_are_presets_with_and_without_attention() -> None:
    study = optuna.create_study()
    for known in first_candidates("hybrid"):
        study.enqueue_trial(known)
    asked = settings(image_sizes=(128,), family="hybrid")
    for name in ("hybrid-s", "conv-s"):
        architecture = suggest(study.ask(), asked).architecture()
        assert {key: architecture[key] for key in PRESETS[name]} == PRESETS[name]


def test_unets_are_those_of_the_presets_and_fit_the_image() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = settings(image_sizes=(64, 200), family="unet")
    study.enqueue_trial(first_candidates("unet")[0])
    first, *found = [suggest(study.ask(), asked) for _ in range(50)]
    described = network_config(classes=3, **first.architecture())
    assert (described.family, described.widths) == ("unet", PRESETS["unet-16"]["widths"])
    for candidate in found:
        assert network_config(classes=3, **candidate.architecture()).widths == candidate.widths
    assert {len(candidate.widths) for candidate in found} == {3, 4, 5}
    assert str(first) == "64 pixels, 1 slice, U-Net, widths 16, 32, 64, 128, 128"


def test_a_fast_search_draws_from_both_families_with_equal_parameters() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for known in first_candidates("fast"):
        study.enqueue_trial(known)
    trials = [study.ask() for _ in range(40)]
    found = [suggest(trial, settings(image_sizes=(64, 128))) for trial in trials]
    assert [candidate.family for candidate in found[:3]] == ["hybrid", "hybrid", "unet"]
    assert (found[0].depth, found[1].depth) == (2, 0)
    assert found[2].widths == PRESETS["unet-16"]["widths"]
    for candidate in found:
        assert network_config(classes=3, **candidate.architecture()).family == candidate.family
    assert 5 < sum(candidate.family == "unet" for candidate in found) < 35
    assert len({frozenset(trial.params) for trial in trials}) == 1


def test_the_first_candidates_are_the_smallest_networks_with_a_name() -> None:
    study = optuna.create_study()
    for known in first_candidates("dual"):
        study.enqueue_trial(known)
    published = Candidate(image_size=64, widths=(32, 80), depth=1, hidden_ratio=4, context_slices=1)
    ours = published.model_copy(update={"convolution_widths": (12, 24)})
    asked = settings(family="dual")
    assert [suggest(study.ask(), asked) for _ in first_candidates("dual")] == [published, ours]


def own_space(trial: optuna.Trial) -> dict[str, object]:
    """A user's search space over his own class."""
    return {"model": "other_networks:UNet", "options": {"width": trial.suggest_int("width", 8, 32, step=8)}}


def no_space(trial: optuna.Trial) -> int:
    """What is no architecture."""
    return trial.number


def test_a_users_own_space_gives_architectures_of_his_own_class() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    asked = settings(image_sizes=(32,), context_slices=(3,), space=f"{__name__}:own_space")
    found = [suggest(study.ask(), asked) for _ in range(20)]
    assert {candidate.options["width"] for candidate in found} == {8, 16, 24, 32}
    assert {(candidate.image_size, candidate.context_slices) for candidate in found} == {(32, 3)}
    config = network_config(classes=3, in_channels=3, **found[0].architecture())
    assert next(build_network(config).parameters()).shape[0] == found[0].options["width"]
    with pytest.raises(ConfigError, match="gave int; a dict"):
        suggest(study.ask(), settings(space=f"{__name__}:no_space"))
    with pytest.raises(NetworkError, match="--space nowhere:space: cannot import"):
        suggest(study.ask(), settings(space="nowhere:space"))
