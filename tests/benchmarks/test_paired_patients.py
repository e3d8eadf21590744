"""Comparing evaluations patient by patient."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from embedded_vit.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("paired_patients")


def test_gains_are_paired_by_patient(paired: ModuleType) -> None:
    base = {"a": np.array([0.5, 0.2]), "b": np.array([0.7, np.nan])}
    better = {"b": np.array([0.8, np.nan]), "a": np.array([0.6, 0.1])}
    header, _, first, second = paired.paired_table({"none": base, "other": better}, ("liver", "pancreas"))
    assert header.count("|") == first.count("|") == second.count("|")
    cells = [cell.strip() for cell in second.strip("|").split("|")]
    assert cells[:2] == ["other", "0.400"]
    assert cells[2].startswith("+0.0")  # the liver gains ten points, the pancreas loses ten
    assert cells[3:] == ["1 of 2", "+10.0", "-10.0"]


def test_other_patients_are_refused(paired: ModuleType) -> None:
    with pytest.raises(ConfigError, match="after: was not tested on the same patients"):
        paired.paired_table({"before": {"a": np.ones(1)}, "after": {"b": np.ones(1)}}, ("liver",))


def test_folds_are_read_as_one_cross_validation(
    paired: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, dice in {"before-1": 0.5, "before-2": None, "after-1": 0.6, "after-2": None}.items():
        patient = f"patient-{name[-1]}"
        organs = {"liver": {"dice": dice}, "spleen": {"dice": 0.5}}
        (tmp_path / name).mkdir()
        document = {"organs": dict.fromkeys(organs), "cases": {patient: {"organs": organs}}}
        (tmp_path / name / "metrics.json").write_text(json.dumps(document))
    given = [["--of", name, *map(str, sorted(tmp_path.glob(f"{name}-*")))] for name in ("before", "after")]
    monkeypatch.setattr(sys, "argv", ["paired_patients.py", *given[0], *given[1]])
    paired.main()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("| after | 0.550 | +5.0 ")
    assert last.endswith("| 1 of 2 | +10.0 | +0.0 |")
    with pytest.raises(ConfigError, match="missing; give folders"):
        paired.structures_of([tmp_path / "nothing"])


def test_cases_of_a_patient_are_averaged(paired: ModuleType, tmp_path: Path) -> None:
    cases = {"a-1": ("a", 0.5, 0.2), "a-2": ("a", 0.7, None), "b-1": ("b", 0.9, 0.4)}
    document = {
        "organs": {"heart": {}, "lung": {}},
        "cases": {
            name: {"patient": patient, "organs": {"heart": {"dice": heart}, "lung": {"dice": lung}}}
            for name, (patient, heart, lung) in cases.items()
        },
    }
    (tmp_path / "metrics.json").write_text(json.dumps(document))
    found = paired.dice_by_patient([tmp_path], ("heart", "lung"))
    assert {patient: dice.round(3).tolist() for patient, dice in found.items()} == {"a": [0.6, 0.2], "b": [0.9, 0.4]}
    assert list(paired.dice_by_case([tmp_path], ("heart", "lung"))) == list(cases)
