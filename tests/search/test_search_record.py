"""The front, the best, and the files that say so."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path
from typing import Any

from embedded_vit.search.record import (
    SearchRecord,
    TrialRecord,
    outcome_text,
    train_command,
    with_front,
    write_record,
)
from embedded_vit.search.space import Budget, Candidate, SearchSettings

CANDIDATE = Candidate(image_size=96, widths=(40, 104), depth=1, hidden_ratio=3, context_slices=3)


def trial(number: int, latency_ms: float | None, dice: float | None, **changes: Any) -> TrialRecord:
    values: dict[str, Any] = {
        "number": number,
        "state": "over budget" if dice is None else "trained",
        "candidate": CANDIDATE,
        "macs": 200_000_000,
        "parameters": 400_000,
        "latency_ms": latency_ms,
        "measured_ms": latency_ms,
        "reference_ms": 2.0,
        "validation_dice": dice,
        "trained_epochs": 20,
        "seed": 0,
        "machine": "a machine",
        "seconds": 1.0,
    }
    return TrialRecord(**(values | changes))


def record_of(*trials: TrialRecord, best: int | None) -> SearchRecord:
    settings = SearchSettings(budget=Budget.read("latency_ms=5"), threads=2)
    return SearchRecord(
        settings=settings,
        data_folder="/data",
        validation=("case0001",),
        reference_ms=2.0,
        trials=with_front(trials),
        best=best,
        command=None if best is None else train_command(CANDIDATE, settings, Path("/my data"), Path("out/best")),
        versions={},
    )


TRIALS = (
    trial(0, 1.0, 0.5),
    trial(1, 2.0, 0.4),  # slower and worse than 0
    trial(2, 4.0, 0.7),
    trial(3, 4.5, 0.7),  # slower than 2, no better
    trial(4, 9.0, None),
    trial(5, 4.0, 0.7, same_as=2),
)


def test_the_front_has_each_network_once_and_only_those_that_none_beats() -> None:
    assert [trial.number for trial in with_front(TRIALS) if trial.front] == [0, 2]


def test_the_table_shows_the_front_and_marks_the_best() -> None:
    text = outcome_text(record_of(*TRIALS, best=2), Path("out"))
    assert "trials: 6, trained within latency_ms=5: 4;" in text
    rows = [line.split() for line in text.splitlines() if line[:1].isdigit()]
    assert [row[0] for row in rows] == ["0", "2"]
    assert rows[1][:5] == ["2", "*", "0.700", "20", "4.00"]
    assert "Research use only" in text


def test_the_command_is_one_that_a_shell_and_train_understand() -> None:
    command = outcome_text(record_of(*TRIALS, best=2), Path("out")).splitlines()[-3]
    words = shlex.split(command)
    assert words[:4] == ["embedded-vit", "train", "--data", "/my data"]
    for words_of_option in (["--widths", "40", "104"], ["--image-size", "96"], ["--hidden-ratio", "3"]):
        place = words.index(words_of_option[0])
        assert words[place : place + len(words_of_option)] == words_of_option
    assert "--validation-cases" not in words


def test_a_hybrid_network_is_trained_by_its_own_options() -> None:
    hybrid = Candidate(
        image_size=96, family="hybrid", widths=(16, 32), depth=0, hidden_ratio=2, context_slices=1, stem_stride=4
    )
    settings = SearchSettings(budget=Budget.read("latency_ms=5"), threads=2)
    words = shlex.split(train_command(hybrid, settings, Path("data"), Path("best")))
    for option in (["--family", "hybrid"], ["--stem-stride", "4"], ["--depth", "0"]):
        place = words.index(option[0])
        assert words[place : place + 2] == option
    assert "--convolution-widths" not in words
    assert "--stem-stride" not in train_command(CANDIDATE, settings, Path("data"), Path("best"))


def test_nothing_within_the_budget_says_how_far_it_was() -> None:
    text = outcome_text(record_of(trial(0, 9.0, None), trial(1, 7.0, None), best=None), Path("out"))
    assert "none of 2 trials is within latency_ms=5; the fastest took 7.00 ms" in text


def test_the_files_hold_every_trial_and_are_written_over(tmp_path: Path) -> None:
    write_record(tmp_path, record_of(trial(0, 9.0, None), best=None))
    write_record(tmp_path, record_of(*TRIALS, best=2))
    values = json.loads((tmp_path / "search.json").read_text())
    assert SearchRecord.parse(values, source="search.json").best == 2
    assert values["use"].startswith("Research use only")
    rows = list(csv.DictReader((tmp_path / "search.csv").read_text().splitlines()))
    assert [(row["number"], row["state"], row["front"]) for row in rows][3:5] == [
        ("3", "trained", "False"),
        ("4", "over budget", "False"),
    ]
    assert (rows[0]["widths"], rows[0]["image_size"], rows[4]["validation_dice"]) == ("40 104", "96", "")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
