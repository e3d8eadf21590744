"""Builds in every fold of a cross-validation by patient."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from embedded_vit.datasets.data_set import Split, make_folds
from embedded_vit.datasets.layouts import open_data_set
from embedded_vit.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("build_folds")


def test_a_fold_is_the_same_data_set_with_other_test_cases(
    folds: ModuleType, nnunet_folder: Path, tmp_path: Path
) -> None:
    data_set = open_data_set(nnunet_folder)
    tested = set()
    for number, split in enumerate(make_folds(data_set, count=2, seed=0)):
        for _ in range(2):  # a second time nothing changes
            folds.link_fold(data_set, split, tmp_path / f"{number}")
        fold = open_data_set(tmp_path / f"{number}")
        assert {case.name for case in fold.cases if case.reserved_for_test} == set(split.test)
        assert [case.name for case in fold.cases] == [case.name for case in data_set.cases]
        for case in fold.cases:
            scan, mask = fold.read_case(case)
            wanted_scan, wanted_mask = data_set.read_case(case)
            np.testing.assert_array_equal(scan.array, wanted_scan.array)
            np.testing.assert_array_equal(mask.array, wanted_mask.array)
        tested |= set(split.test)
    assert tested == {case.name for case in data_set.cases}


def test_two_scans_of_a_patient_are_one_in_the_interval(folds: ModuleType, nnunet_folder: Path, tmp_path: Path) -> None:
    data_set = open_data_set(nnunet_folder)
    names = [case.name for case in data_set.cases]
    cases = {name: {"organs": {"liver": {"dice": 0.5 + 0.1 * number}}} for number, name in enumerate(names)}
    for fold, part in enumerate((names[:1], names[1:])):
        (tmp_path / f"{fold}").mkdir()
        document = {"organs": {"liver": {}}, "cases": {name: cases[name] for name in part}}
        (tmp_path / f"{fold}" / "metrics.json").write_text(json.dumps(document))
    evaluations = [tmp_path / "0", tmp_path / "1"]
    mean = f"{np.mean([0.5 + 0.1 * number for number in range(len(names))]):.3f}"
    row = folds.fold_table(data_set, evaluations).splitlines()[-1]
    assert row.startswith(f"| {len(names)} | {len(names)} | {mean} [")
    one = open_data_set(nnunet_folder, patient="^(.)")  # all names begin alike
    assert len({case.patient for case in one.cases}) == 1
    row = folds.fold_table(one, evaluations).splitlines()[-1]
    assert row.startswith(f"| 1 | {len(names)} | {mean} | ")  # one patient has no interval


def test_other_layouts_are_refused(folds: ModuleType, synapse_folder: Path, tmp_path: Path) -> None:
    data_set = open_data_set(synapse_folder)
    with pytest.raises(ConfigError, match="folds are made of nnU-Net data sets"):
        folds.link_fold(data_set, Split(seed=0, train=(), validation=(), test=()), tmp_path)
