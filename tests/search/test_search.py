"""The search: what is too costly is never trained, what died is tried again, test cases never choose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from artifact_fixtures import RunVerb
from search_fixtures import ScriptedMeter

from embedded_vit.errors import ConfigError, TrainingError
from embedded_vit.search import searching as module
from embedded_vit.search.record import SearchRecord
from embedded_vit.search.searching import search
from embedded_vit.search.space import Budget, Candidate, SearchSettings
from embedded_vit.training.checkpoint import load_checkpoint


def candidate(image_size: int, *widths: int, depth: int = 1, convolution_widths: tuple[int, ...] = ()) -> Candidate:
    return Candidate(
        image_size=image_size,
        widths=widths,
        depth=depth,
        hidden_ratio=4,
        context_slices=1,
        convolution_widths=convolution_widths,
    )


SCRIPT = (
    candidate(32, 32, 80),
    candidate(40, 48, 320, depth=2),  # over the budget
    candidate(40, 24, 96),
    candidate(32, 16, 32, convolution_widths=(8, 16)),
)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LatencyMeter", ScriptedMeter)


def settings(budget: str = "latency_ms=3", **given) -> SearchSettings:
    values = {"budget": Budget.read(budget), "threads": 1, "epochs": 1, "image_sizes": (32, 40), "context_slices": (1,)}
    return SearchSettings.parse(values | given, source="test")


def states(record: SearchRecord) -> list[str]:
    return [trial.state for trial in record.trials]


@pytest.fixture(scope="module")
def searched(synapse_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchRecord, list[str]]:
    folder, events = tmp_path_factory.mktemp("search"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LatencyMeter", ScriptedMeter)
        patch.setattr(module, "suggest", lambda trial, _: SCRIPT[trial.number])
        record = search(synapse_folder, folder, settings=settings(), trials=len(SCRIPT), on_event=events.append)
    return folder, record, events


def test_only_what_is_within_the_budget_is_trained(searched) -> None:
    folder, record, _ = searched
    assert states(record) == ["trained", "over budget", "trained", "trained"]
    assert tuple(trial.candidate for trial in record.trials) == SCRIPT
    for trial in record.trials:
        assert (trial.state == "trained") == (trial.latency_ms <= 3)
        assert (trial.validation_dice is not None) == (folder / "trials" / f"{trial.number:04d}").exists()
        assert trial.latency_ms == pytest.approx(trial.macs / 20e6)  # as when the search began
        assert trial.measured_ms == pytest.approx(2 * trial.latency_ms)  # as it was


def test_each_trial_is_an_ordinary_run_that_validation_cases_chose(searched) -> None:
    folder, record, _ = searched
    for trial in record.trials:
        if trial.state == "trained":
            checkpoint = load_checkpoint(folder / "trials" / f"{trial.number:04d}")
            assert checkpoint.config.network.widths == trial.candidate.widths
            assert checkpoint.config.network.convolution_widths == trial.candidate.convolution_widths
            assert checkpoint.record.split.validation == record.validation
            assert checkpoint.record.split.test == ("case0005", "case0006")
            cases = (folder / "trials" / f"{trial.number:04d}" / "validation" / "cases.csv").read_text()
            assert record.validation[0] in cases
            assert "case0005" not in cases


def test_later_networks_inherit_from_earlier_ones(searched) -> None:
    folder, record, events = searched
    first, second, *_ = (trial for trial in record.trials if trial.state == "trained")
    assert (first.inherited_from, first.inherited_part, first.trained_epochs) == (None, 0.0, 1)
    assert (second.inherited_from, second.trained_epochs) == (first.number, 2)
    assert 0 < second.inherited_part < 1
    init = load_checkpoint(folder / "trials" / f"{second.number:04d}").config.training.init
    assert init == str(folder / "trials" / f"{second.number:04d}" / "start")
    assert any(f"of its weights from trial {first.number}" in event for event in events)


def test_a_finished_search_is_read_and_a_longer_one_goes_on(searched, synapse_folder: Path, monkeypatch) -> None:
    folder, record, _ = searched
    assert search(synapse_folder, folder, settings=settings(), trials=4) == record
    monkeypatch.setattr(module, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(module, "suggest", lambda *_: record.trials[0].candidate)
    longer = search(synapse_folder, folder, settings=settings(), trials=5)
    assert longer.trials[:4] == record.trials
    assert (longer.trials[4].same_as, longer.trials[4].validation_dice) == (0, record.trials[0].validation_dice)
    assert not longer.trials[4].front


@pytest.mark.parametrize("budget", ["macs=1000", "parameters=1000"])
def test_what_can_be_counted_needs_no_measuring(budget: str, synapse_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ScriptedMeter, "measure", lambda *_: pytest.fail("measured"))
    record = search(synapse_folder, tmp_path, settings=settings(budget), trials=2)
    assert states(record) == ["over budget"] * 2
    assert (record.best, record.command) == (None, None)


def test_an_interrupted_trial_is_tried_again_and_nothing_else(
    synapse_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    asked = settings(family="hybrid")  # which has no more known networks in its queue then
    whole, interrupted = search(synapse_folder, tmp_path, settings=asked, trials=1), []

    def interrupt(_: Path, folder: Path, **given: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        interrupted.append(given["architecture"])
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        search(synapse_folder, tmp_path, settings=asked, trials=10)
    [lost] = interrupted
    tried = []

    def fail(_: Path, folder: Path, **given: Any) -> None:
        tried.append(given["architecture"])
        raise TrainingError("the loss is nan")

    monkeypatch.setattr(module, "train", fail)
    before = len(list((tmp_path / "locks").iterdir())) - 1  # the trials that were done
    events: list[str] = []
    record = search(synapse_folder, tmp_path, settings=asked, trials=before + 1, on_event=events.append)
    assert tried == [lost]
    assert record.trials[0] == whole.trials[0]
    assert (record.trials[-1].state, record.trials[-1].failure) == ("failed", "the loss is nan")
    assert any("its process died" in event for event in events)


def test_there_must_be_somebody_to_select_on_and_something_to_do(synapse_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validation cases"):
        search(synapse_folder, tmp_path, settings=settings(validation_cases=0), trials=1)
    with pytest.raises(ConfigError, match="--trials 0"):
        search(synapse_folder, tmp_path, settings=settings(), trials=0)


def test_auto_is_decided_once_and_written_down(synapse_folder: Path, tmp_path: Path, monkeypatch) -> None:
    asked = []

    class ChoosingMeter(ScriptedMeter):
        engine = "litert"

        def __init__(self, _: Any, engine: str, **__: Any) -> None:
            asked.append(engine)

    monkeypatch.setattr(module, "LatencyMeter", ChoosingMeter)
    monkeypatch.setattr(module, "suggest", lambda trial, _: SCRIPT[1])  # over the budget
    events: list[str] = []
    for trials in (1, 2):
        record = search(
            synapse_folder, tmp_path, settings=settings(engine="auto"), trials=trials, on_event=events.append
        )
        assert (record.settings.engine, record.engine) == ("auto", "litert")
    assert asked[0] == "auto"
    assert set(asked[1:]) <= {"litert"}  # a resumed search does not choose again
    assert sum("latency is measured in litert" in event for event in events) == 1


@pytest.mark.slow
def test_the_command_searches_and_tells_how_to_train_the_best(
    synapse_folder: Path, tmp_path: Path, run_verb: RunVerb
) -> None:
    options = "--budget latency_ms=1000 --trials 1 --epochs 1 --image-sizes 32 --context-slices 1 --threads 1"
    status, shown, told = run_verb("search", "--data", synapse_folder, "-o", tmp_path / "search", *options.split())
    assert status == 0, told
    assert "embedded-vit train --data" in shown
    network = "--family hybrid --image-size 32 --widths 16 32 64 --depth 2 --hidden-ratio 2 --stem-stride 2"
    assert network in shown
    assert "trial 0 of 1: 32 pixels, 1 slice, stem 2, widths 16, 32, 64, depth 2, ratio 2" in told
    for suffix in ("json", "csv", "png", "journal"):
        assert (tmp_path / "search" / f"search.{suffix}").stat().st_size > 0


def test_a_budget_of_another_name_is_one_line_and_status_two(tmp_path: Path, run_verb: RunVerb) -> None:
    status, _, told = run_verb("search", "--data", tmp_path, "-o", tmp_path / "search", "--budget", "latency=5")
    assert status == 2
    assert "did you mean 'latency_ms'?" in told
    assert len(told.splitlines()) == 1


def test_without_optuna_one_line_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        f"sys.argv = ['embedded-vit', 'search', '--data', '.', '-o', {str(tmp_path / 's')!r}, '--budget', 'macs=1']\n"
        "from embedded_vit.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'embedded-vit[search]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
