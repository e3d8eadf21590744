"""Cells of a comparison: splits by patient, killed and resumed, paired by patient, at equal latency."""

from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import Case
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}"}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = ("peers", "peer_cells", "peer_latency", "peer_plot", "peer_table", "peer_training")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture
def heart(synapse_folder: Path) -> Any:
    """A data set of five patients of two frames each."""
    names = [f"patient{number:03d}_frame{frame:02d}" for number in range(1, 6) for frame in (1, 12)]
    return replace(open_data_set(synapse_folder), cases=tuple(Case(name, name) for name in names))


def test_frames_of_a_patient_stay_together(modules: SimpleNamespace, heart: Any) -> None:
    data_set = modules.peer_cells.with_patients(heart, r"(patient\d+)_")
    splits = modules.peer_cells.named_splits(data_set, folds=5, chosen=None, test_last=None)
    assert list(splits) == [f"fold{fold}of5" for fold in range(5)]
    for split in splits.values():
        assert len({name[:10] for name in split.test}) == 1
        assert len(split.test) == 2
        assert not {name[:10] for name in split.test} & {name[:10] for name in split.train}
    assert sorted(name for split in splits.values() for name in split.test) == [case.name for case in heart.cases]
    last = modules.peer_cells.named_splits(data_set, folds=None, chosen=None, test_last=2)["last2"]
    assert last.test == tuple(case.name for case in heart.cases[-4:])
    assert last.train == tuple(case.name for case in heart.cases[:6])


def test_a_group_is_not_needed(modules: SimpleNamespace, heart: Any) -> None:
    data_set = modules.peer_cells.with_patients(heart, r"^patient\d+")
    assert [case.patient for case in data_set.cases[:3]] == ["patient001", "patient001", "patient002"]
    assert modules.peer_cells.with_patients(heart, None) is heart


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"folds": 6}, DataSetError),
        ({"folds": 1}, DataSetError),
        ({"folds": 5, "chosen": [5]}, ConfigError),
        ({"test_last": 5}, DataSetError),
        ({"test_last": 0}, DataSetError),
    ],
)
def test_a_split_that_is_not_there_is_refused(
    modules: SimpleNamespace, heart: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    data_set = modules.peer_cells.with_patients(heart, r"patient\d+")
    with pytest.raises(error, match="expected"):
        modules.peer_cells.named_splits(data_set, **{"folds": None, "chosen": None, "test_last": None, **options})


@pytest.mark.parametrize(
    ("pattern", "said"), [(r"subject\d+", "patient001_frame01"), ("(", "not a regular expression")]
)
def test_a_pattern_that_finds_no_patient_is_refused(
    modules: SimpleNamespace, heart: Any, pattern: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        modules.peer_cells.with_patients(heart, pattern)


@pytest.mark.parametrize(
    "words",
    [
        ["--fold", "0"],
        ["--networks", "unet-16@64"],
        ["--data", "d", "--output", "o", "--cells-only"],
        ["--data", "d", "--output", "o", "--patient-pattern", "x"],
        ["--data", "d", "--output", "o", "--minutes", "0"],
        ["--data", "d", "--output", "o", "--epochs", "-1"],
    ],
)
def test_options_that_contradict_are_refused(modules: SimpleNamespace, words: list[str]) -> None:
    with pytest.raises(ConfigError):
        modules.peers.parse(words)


def test_what_asks_for_cells(modules: SimpleNamespace) -> None:
    both = ["--data", "d", "--output", "o"]
    once = modules.peers.parse([*both, "--epochs", "3"])
    assert (once.cells, once.minutes, once.recipes) == (False, None, ["modern", "theirs"])
    assert modules.peers.parse(both).minutes == 8
    for words in (["--folds", "5"], ["--test-last", "20"], ["--seeds", "0"], ["--epochs", "3", "--minutes", "2"]):
        asked = modules.peers.parse([*both, *words])
        assert (asked.cells, asked.recipes) == (True, ["modern"])
        assert {"unet-16@64", "emcad-b0@128", "segformer-b0@64"} <= set(asked.networks)


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(
    modules: SimpleNamespace, synapse_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    name = "8-16@32-modern-4passes-fold0of3-seed1"
    words = ["--data", str(synapse_folder), "--networks", "8-16@32", "--folds", "3", "--fold", "0", "--seeds", "1"]
    words += ["--epochs", "4", "--threads", "1", "--repeats", "3"]
    command = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), *words, "--output", str(killed)]
    with subprocess.Popen(command, env=ONE_THREAD, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        process.send_signal(signal.SIGKILL)
    assert 0 < len(load_checkpoint(killed / name).record.epochs) < 4
    assert modules.peer_cells.read_cells(killed) == {}
    with pytest.raises(ConfigError, match="no finished cell"):
        modules.peer_table.read_study(killed)

    modules.peers.main([*words, "--output", str(killed), "--cells-only"])
    modules.peers.main([*words, "--output", str(whole)])
    weights = [load_checkpoint(folder / name).network.state_dict() for folder in (killed, whole)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    [of_killed], [of_whole] = (list(modules.peer_cells.read_cells(folder).values()) for folder in (killed, whole))
    assert of_killed.model_copy(update={"minutes": 0.0}) == of_whole.model_copy(update={"minutes": 0.0})
    assert (of_whole.passes, of_whole.split, of_whole.seed, len(of_whole.patients)) == (4, "fold0of3", 1, 2)
    metrics = [json.loads((folder / name / "evaluation" / "metrics.json").read_text()) for folder in (killed, whole)]
    assert metrics[0]["mean"] == metrics[1]["mean"]

    assert not (killed / "costs.json").exists()
    costs = modules.peer_latency.read_costs(whole)
    assert costs.networks.keys() == {"8-16@32", "unet-16@64"}
    assert costs.networks["unet-16@64"].units["ONNX Runtime"] == 1
    assert costs.networks["unet-16@64"].macs == pytest.approx(179.6e6, rel=0.001)
    assert f"| **8-16@32** | {metrics[0]['mean']['dice']:.3f}" in capsys.readouterr().out
    assert (whole / "peers.png").read_bytes().startswith(b"\x89PNG")

    trained = (whole / name / "model.safetensors").stat().st_mtime_ns
    modules.peers.main([*words, "--output", str(whole), "--cells-only"])
    assert trained == (whole / name / "model.safetensors").stat().st_mtime_ns


@pytest.mark.slow
def test_latency_alone_needs_no_data_and_goes_on_after_a_failure(
    modules: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    modules.peers.main(["--latency-only", "--networks", "unet-8@72", "unet-8@64", "--repeats", "3"])
    lines = capsys.readouterr().out.splitlines()
    cells = {row[0]: row for line in lines if line.startswith("| unet") for row in [line.strip("| ").split(" | ")]}
    assert cells.keys() == {"unet-8@64", "unet-16@64"}
    assert cells["unet-16@64"][1].startswith("1.00")
    assert [cells[name][4] for name in ("unet-8@64", "unet-16@64")] == ["45 M", "180 M"]
    [failure] = [line for line in lines if line.startswith("unet-8@72 failed")]
    assert "a multiple of 16" in failure


@pytest.mark.slow
def test_a_compressed_network_is_a_cell_of_its_own(
    modules: SimpleNamespace, synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--data", str(synapse_folder), "--output", str(tmp_path), "--networks", "unet-8@32", "--threads", "1"]
    modules.peers.main([*words, "--folds", "3", "--fold", "0", "1", "--epochs", "1", "--cells-only"])
    [first, second] = sorted(modules.peer_cells.read_cells(tmp_path))
    compressed = importlib.import_module("peer_compressed")
    folder = compressed.add_compressed(first, first / "model.onnx", "small@32", synapse_folder, threads=1)
    assert folder.name == "small@32-modern-1pass-fold0of3-seed0"
    cells = modules.peer_cells.read_cells(tmp_path)
    assert cells[folder] == cells[first].model_copy(update={"network": "small@32"})
    by_network = {one.at_size: one for one in modules.peer_cells.entries_of(cells)[0]}
    for pair, dice in by_network["small@32"].dice.items():
        np.testing.assert_array_equal(dice, by_network["unet-8@32"].dice[pair])
    assert len(by_network["unet-8@32"].dice) == 4
    with pytest.raises(ConfigError, match="its test cases are others"):
        compressed.add_compressed(second, first / "model.onnx", "small@32", synapse_folder)
    for name in ("small", "unet-8@32"):
        with pytest.raises(ConfigError, match="for example unet-8-pruned@32"):
            compressed.add_compressed(first, first / "model.onnx", name, synapse_folder)

    plans: list[Any] = []

    def compress(run: Path, plan: Any, output: Path, **_: Any) -> None:
        plans.append(plan.plain()["steps"][0]["prune_channels"])
        shutil.copytree(run, output)

    monkeypatch.setattr(compressed, "compress", compress)
    words[words.index("unet-8@32")] = "unet-8,latency=0.5@32"
    for _ in range(2):  # the second time it is finished
        modules.peers.main([*words, "--folds", "3", "--fold", "0", "--epochs", "1", "--cells-only"])
    [plan] = plans
    assert (plan["target_latency"], plan["epochs"], plan["nearest"]) == (0.5, 3, True)
    pruned = modules.peer_cells.read_cell(tmp_path / "unet-8,latency=0.5@32-modern-1pass-fold0of3-seed0")
    update = {"network": "unet-8,latency=0.5@32", "passes": 4.0}
    assert pruned == cells[first].model_copy(update=update)


def test_lengths_stand_in_the_order_of_their_numbers(modules: SimpleNamespace) -> None:
    lengths = ["8 minutes", "120 passes", "30 minutes", "60 passes", "1 pass"]
    entries = tuple(replace(entry(modules, "a", {("p1", 0): [0.5]}), length=length) for length in lengths)
    study = modules.peer_table.Study("d", entries, ("a",), costs_of(modules, {}))
    assert study.lengths() == ["1 pass", "60 passes", "120 passes", "8 minutes", "30 minutes"]


def entry(modules: SimpleNamespace, name: str, dice: dict[tuple[str, int], list[float]], *, ours: bool = False) -> Any:
    values = {pair: np.array(of_pair) for pair, of_pair in dice.items()}
    return modules.peer_cells.Entry(name, name, ours, "4 passes", 4.0, 0.5, values)


def costs_of(modules: SimpleNamespace, units: dict[str, float]) -> Any:
    networks = {
        name: modules.peer_latency.NetworkCosts(
            macs=int(value * 10**8), file_bytes=10**6, latency_ms={"ONNX Runtime": 2 * value},
            units={"ONNX Runtime": value},
        )
        for name, value in units.items()
    }  # fmt: skip
    return modules.peer_latency.Costs(machine="m", created="now", rounds=3, doubts=(), networks=networks)


PATIENTS = [f"p{number}" for number in range(8)]


def study_of(modules: SimpleNamespace) -> Any:
    """Ours is 5 points ahead within 1 unit, and 5 behind within 3.5; a screened peer has one patient only."""

    def everywhere(dice: float) -> dict[tuple[str, int], list[float]]:
        return {(name, seed): [dice + 0.01 * place, math.nan if place == 0 else dice + 0.01 * seed]
                for place, name in enumerate(PATIENTS) for seed in (0, 1)}  # fmt: skip

    entries = (
        entry(modules, "ours", everywhere(0.75), ours=True),
        entry(modules, "unet-8", everywhere(0.65)),
        entry(modules, "unet-16", everywhere(0.70)),
        entry(modules, "unet-32", everywhere(0.80)),
        entry(modules, "screened", {("p1", 0): [0.99, 0.99]}),
    )
    units = {"ours": 0.9, "unet-8": 0.3, "unet-16": 1.0, "unet-32": 3.0, "screened": 0.2}
    return modules.peer_table.Study("phantoms", entries, ("a", "b"), costs_of(modules, units))


def test_the_best_of_ours_meets_the_best_peer_within_each_budget(modules: SimpleNamespace) -> None:
    study = study_of(modules)
    found = {budget: modules.peer_table.verdict(study, "4 passes", budget) for budget in modules.peer_table.BUDGETS}
    assert found[0.4] is None  # none of ours is as fast
    assert [one.network for one in found[1.0].compared.left_out] == ["screened"]
    assert (found[1.0].ours.network, found[1.0].peer.network, found[1.0].word) == ("ours", "unet-16", "ahead")
    assert found[1.0].gain.mean == pytest.approx(0.05)
    assert (found[1.0].better, found[1.0].patients) == (8, 8)
    assert (found[3.5].peer.network, found[3.5].word) == ("unet-32", "behind")
    assert found[3.5].gain.high == pytest.approx(-0.05)


def test_the_tables_say_so(modules: SimpleNamespace, tmp_path: Path) -> None:
    text = modules.peer_table.write_tables([study_of(modules), study_of(modules)], tmp_path)
    assert "| 1 | ours 0.770 | unet-16 0.720 | +5.0 [+5.0, +5.0] | 8 of 8 | ahead |" in text
    assert "| 0.4 | – | – | – | – | not compared |" in text
    assert "| screened | 0.990 | a 0.99 | 1 x 1 | 4 | 0.5 |" in text
    assert "Within 1, trained on fewer patients or seeds and left out: screened." in text
    assert "| 4 passes, 3.5 | -5.0 [-5.0, -5.0] behind | -5.0 [-5.0, -5.0] behind |" in text
    assert "| ours | 0.90 | 1.80 | 50 (1.00) | 90 M | 1.00 MB |" in text
    assert (tmp_path / "peers.md").read_text() == text
    assert (tmp_path / "peers.png").stat().st_size > 1000
    assert max(line.count("|") for line in text.splitlines()) <= 7  # at most six columns


def test_finalists_of_one_budget_do_not_shut_out_those_who_were_screened_at_another(modules: SimpleNamespace) -> None:
    """At 0.4 units nobody has more than one fold; the two folds of others, at 3.5, do not count there."""
    one, two = ({(name, 0): [dice] for name in names} for names, dice in ((PATIENTS[:4], 0.5), (PATIENTS, 0.6)))
    entries = (
        entry(modules, "small", {pair: [0.7] for pair in one}, ours=True),
        entry(modules, "unet-8", one),
        entry(modules, "large", two, ours=True),
        entry(modules, "unet-32", two),
    )
    units = {"small": 0.3, "unet-8": 0.3, "large": 3.0, "unet-32": 3.0}
    study = modules.peer_table.Study("phantoms", entries, ("a",), costs_of(modules, units))
    small, large = (modules.peer_table.verdict(study, "4 passes", budget) for budget in (0.4, 3.5))
    assert (small.ours.network, small.peer.network, small.patients) == ("small", "unet-8", 4)
    assert (large.ours.network, large.peer.network, large.patients) == ("large", "unet-32", 8)


def test_a_seed_less_is_compared_on_the_seeds_that_both_have(modules: SimpleNamespace) -> None:
    two = {(name, seed): [0.5 + 0.1 * seed] for name in PATIENTS for seed in (0, 1)}
    one = {(name, 0): [0.4] for name in PATIENTS}
    entries = [entry(modules, "ours", one, ours=True), entry(modules, "unet-8", two), entry(modules, "unet-12", two)]
    compared = modules.peer_table.CompareAt.of(entries)
    assert len(compared.entries) == 3
    assert compared.dice(entries[1]) == pytest.approx(0.5)


def test_the_front_leaves_out_who_was_screened_only(modules: SimpleNamespace) -> None:
    dot = modules.peer_plot.Dot
    dots = (dot("a", 1, 0.5, True, True), dot("b", 2, 0.4, False, True), dot("c", 3, 0.7, False, True))
    panel = modules.peer_plot.Panel("p", (*dots, dot("d", 1, 0.9, False, False)))
    assert [one.name for one in panel.front()] == ["a", "c"]
    figure = modules.peer_plot.figure_of([panel] * 4)
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2


def test_frames_are_averaged_to_patients_and_folds_joined(modules: SimpleNamespace, tmp_path: Path) -> None:
    cases = {
        "fold0": {"p1_a": [0.5, None], "p1_b": [0.7, 0.2]},
        "fold1": {"p2_a": [0.9, None], "p2_b": [0.9, None]},
    }
    for fold, dice in cases.items():
        folder = tmp_path / fold
        (folder / "evaluation").mkdir(parents=True)
        structures = [{"a": {"dice": first}, "b": {"dice": second}} for first, second in dice.values()]
        metrics = {
            "organs": {"a": {}, "b": {}},
            "cases": {case: {"organs": of} for case, of in zip(dice, structures, strict=True)},
        }
        (folder / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
        cell = modules.peer_cells.Cell(
            data="d", network="unet-8@64", ours=False, recipe="modern", split=fold, seed=0, length="4 passes",
            passes=4, minutes=1, patients={case: case[:2] for case in dice},
        )  # fmt: skip
        (folder / "cell.json").write_text(cell.model_dump_json())
    cells = modules.peer_cells.read_cells(tmp_path)
    [found], structures_found = modules.peer_cells.entries_of(cells)
    assert structures_found == ("a", "b")
    np.testing.assert_allclose(found.dice["p1", 0], [0.6, 0.2])
    np.testing.assert_allclose(found.dice["p2", 0], [0.9, math.nan])
    (tmp_path / "fold1" / "cell.json").write_text((tmp_path / "fold0" / "cell.json").read_text())
    (tmp_path / "fold1" / "evaluation" / "metrics.json").write_text(
        (tmp_path / "fold0" / "evaluation" / "metrics.json").read_text()
    )
    with pytest.raises(ConfigError, match="tested twice with seed 0"):
        modules.peer_cells.entries_of(modules.peer_cells.read_cells(tmp_path))


def test_a_network_of_ones_own_counts_as_ours(modules: SimpleNamespace) -> None:
    ours = {text: modules.peer_training.trainings_of(text, ["modern"])[0].is_ours for text in (
        "embedded-vit-s", "32-80@64", "my.networks:Fast@64", "unet-16@64", "dae-former-224@64")}  # fmt: skip
    assert list(ours.values()) == [True, True, True, False, False]
    [own] = modules.peer_training.trainings_of("my.networks:Fast@64", ["modern"])
    assert (own.network_at_size, own.name) == ("my.networks:Fast@64", "my.networks.Fast@64-modern")
