from __future__ import annotations

from pathlib import Path

import pytest
from memory_data_set import box_mask, evaluated_model, memory_data_set

from embedded_vit.errors import CheckpointError, DataSetError
from embedded_vit.evaluation.evaluated_model import open_model
from embedded_vit.labels import LabelSet

CASES = memory_data_set({name: box_mask() for name in ("a", "b", "c", "d")})
SPLIT = {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}


def chosen_names(split: dict, subset: str) -> list[str]:
    return [case.name for case, _ in evaluated_model(split).choose(CASES, subset).cases]


@pytest.mark.parametrize(("subset", "names"), [("train", ["a", "b"]), ("validation", ["c"]), ("test", ["d"])])
def test_a_subset_is_that_of_the_models_own_split(subset: str, names: list[str]) -> None:
    assert chosen_names(SPLIT, subset) == names


def test_where_no_case_is_known_test_means_all_and_says_so() -> None:
    chosen = evaluated_model({"train": ["elsewhere"]}).choose(CASES, "test")
    assert [subset for _, subset in chosen.cases] == ["unknown"] * 4
    assert "unseen" in chosen.notes[0]


def test_where_no_case_is_known_none_is_a_validation_case() -> None:
    with pytest.raises(DataSetError, match="--split test"):
        evaluated_model({"train": ["elsewhere"]}).choose(CASES, "validation")


def test_a_training_case_is_never_called_a_test_case() -> None:
    with pytest.raises(DataSetError, match="test"):
        evaluated_model({"train": ["a", "b", "c", "d"]}).choose(CASES, "test")


def test_cases_beside_the_split_are_left_out_of_test_with_a_note() -> None:
    chosen = evaluated_model({"train": ["a"], "test": ["d", "elsewhere"]}).choose(CASES, "test")
    assert [case.name for case, _ in chosen.cases] == ["d"]
    assert any("2 cases" in note and "left out" in note for note in chosen.notes)
    assert any("1 of the 2 test cases" in note for note in chosen.notes)


def test_training_and_validation_figures_carry_their_warning() -> None:
    assert "nothing about new patients" in evaluated_model(SPLIT).choose(CASES, "train").notes[0]
    assert "selected" in evaluated_model(SPLIT).choose(CASES, "validation").notes[0]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"labels": LabelSet.from_names(["anterior", "posterior"])}, "anterior"),
        ({"modality": "MR"}, "MR"),
        ({"channels": ("T1w", "T2w")}, "2 channels"),
    ],
)
def test_a_data_set_of_another_kind_is_refused_in_one_line(fields: dict, named: str) -> None:
    with pytest.raises(DataSetError, match=named) as caught:
        evaluated_model().check_fits(memory_data_set({"a": box_mask()}, **fields))
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such"):
        open_model(tmp_path / "nothing.onnx", threads=1)


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(CheckpointError, match="not a run"):
        open_model(tmp_path, threads=1)
