"""A training that must end in time: how many epochs fit, and that a killed one decides as it would have."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_bench import Workbench

from embedded_vit.training.loop import Trainer
from embedded_vit.training.pace import epochs_in_time
from embedded_vit.training.progress import TrainingListener


@pytest.mark.parametrize(
    ("seconds", "epochs", "limit", "expected"),
    [
        ([], 40, None, 40),
        ([100.0] * 10, 40, None, 40),
        ([1.0] * 3, 40, 40.0, 40),
        ([2.0] * 3, 40, 40.0, 20),  # half as many, at twice the time
        ([2.0] * 2, 40, 40.0, 40),  # too early to tell
        ([9.0], 40, 40.0, 4),  # but not where one takes a fifth of the time
        ([100.0], 40, 10.0, 1),  # one epoch is the least
        ([], 40, 0.0, 40),
        ([2.0] * 3 + [0.1] * 3, 40, 40.0, 20),  # it never rises again
        ([1.0] * 3 + [9.0] * 3, 40, 40.0, 7),
    ],
)
def test_as_many_epochs_as_fit(seconds: list[float], epochs: int, limit: float | None, expected: int) -> None:
    assert epochs_in_time(seconds, epochs, limit) == expected


def test_what_was_decided_early_does_not_depend_on_when_it_is_asked_for() -> None:
    seconds = [1.0, 1.5, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    answers = [epochs_in_time(seconds[:done], 40, 20.0) for done in range(len(seconds) + 1)]
    assert answers == sorted(answers, reverse=True)


class Killed(Exception):
    pass


class Ears(TrainingListener):
    def __init__(self, dies_after: int | None = None) -> None:
        self.heard: list[tuple[int, int]] = []
        self.dies_after = dies_after

    def epoch_done(self, row, epochs):
        self.heard.append((row.epoch, epochs))
        if row.epoch == self.dies_after:
            raise Killed


def test_a_slow_training_is_shortened_and_its_learning_rate_still_falls_to_zero(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_lap_seconds", lambda self: 100.0)
    config, ears = bench.planned(epochs=9), Ears()
    record = bench.opened(config, tmp_path / "run", seconds_limit=520.0, listener=ears).run()
    assert ears.heard == [(1, 9), (2, 5), (3, 5), (4, 5), (5, 5)]  # judged from a fifth of the time on
    assert len(record.epochs) == 5
    assert record.epochs[-1].learning_rate < 0.1 * config.training.learning_rate

    died = Ears(dies_after=3)
    with pytest.raises(Killed):
        bench.opened(config, tmp_path / "killed", seconds_limit=520.0, listener=died).run()
    weights, losses = bench.trained(config, tmp_path / "killed", seconds_limit=520.0, listener=Ears())
    whole, all_losses = bench.trained(config, tmp_path / "run", seconds_limit=520.0, listener=Ears())
    assert losses == all_losses
    assert all((weights[name] == whole[name]).all() for name in whole)
