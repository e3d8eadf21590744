"""Training a model further: its network and contract stay, and held-out cases say whether it helped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embedded_vit.build.building import build
from embedded_vit.build.fine_tuning import fine_tuning_plan
from embedded_vit.datasets import open_data_set
from embedded_vit.errors import ConfigError, DataSetError
from embedded_vit.planning.build_plan import PLAN_FILE, BuildPlan
from embedded_vit.training.checkpoint import load_checkpoint, read_run_config


@pytest.fixture(scope="module")
def tuned(built: Path, nnunet_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built model file, trained for one epoch more."""
    output = tmp_path_factory.mktemp("tuned") / "out"
    plan = fine_tuning_plan(open_data_set(nnunet_folder), built / "model.onnx", minutes=60.0)
    shorter = plan.training.model_copy(update={"epochs": 1, "batch_size": 8})
    plan.model_copy(update={"training": shorter}).write(output / PLAN_FILE)
    build(nnunet_folder, output, init=built / "model.onnx", threads=1)
    return output


def test_it_begins_with_the_weights_of_the_file(tuned: Path, built: Path) -> None:
    start, before = load_checkpoint(tuned / "start"), load_checkpoint(built / "run")
    assert start.config.preprocessing == before.config.preprocessing
    theirs = dict(before.network.named_parameters())
    heads = [name for name in theirs if name.startswith("head")]
    assert heads
    for name in heads:  # no batch norm is folded into it
        assert (dict(start.network.named_parameters())[name] == theirs[name]).all()
    assert read_run_config(tuned / "run").training.init == str(tuned / "start")


def test_the_page_says_whether_it_helped(tuned: Path) -> None:
    page = (tuned / "report.html").read_text(encoding="utf-8")
    assert "decides nothing" in page  # on one held-out case
    assert "Dice before:" in page


def test_the_structure_of_a_run_is_kept(built: Path, nnunet_folder: Path) -> None:
    plan = fine_tuning_plan(open_data_set(nnunet_folder), built / "run", minutes=3.0)
    assert plan.network == read_run_config(built / "run").network
    assert plan.minutes == 3.0
    assert BuildPlan.parse(plan.model_dump(), source="itself") == plan


def test_other_structures_and_other_channels_are_refused(built: Path, nnunet_folder: Path) -> None:
    data_set = open_data_set(nnunet_folder)
    fewer = data_set.labels.model_copy(update={"labels": data_set.labels.labels[:2]})
    with pytest.raises(DataSetError, match=r"its structures are .*; give masks of these structures"):
        fine_tuning_plan(replace(data_set, labels=fewer), built / "run")
    with pytest.raises(DataSetError, match=r"MR with 2 channels; .* expects CT with 1; build without --init"):
        fine_tuning_plan(replace(data_set, modality="MR", channels=("T1", "T2")), built / "run")


def test_a_budget_does_not_go_with_it(built: Path, nnunet_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave one of them out"):
        build(nnunet_folder, tmp_path / "out", init=built / "run", latency_ms=5.0)
