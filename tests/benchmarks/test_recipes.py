"""Comparing recipes: every patient tests once, differences are paired, nothing is trained twice."""

from __future__ import annotations

import importlib
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.training.loop import Trainer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("recipes")


@pytest.mark.slow
def test_every_patient_is_tested_and_what_is_done_is_read(
    recipes: ModuleType, synapse_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--network", "embedded-vit-64", "--epochs", "1", "--folds", "3", "--threads", "1"]
    command = ["recipes.py", "--data", str(synapse_folder), "--output", str(tmp_path), "--changes", "none", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    recipes.main()
    monkeypatch.setattr(Trainer, "run", None)
    data_set = open_data_set(synapse_folder)
    settings = Namespace(
        network="embedded-vit-64", epochs=1, folds=3, precision="fp32", context_slices=3, threads=1, output=tmp_path
    )
    scores = recipes.cross_validated(data_set, "none", settings)
    assert sorted(scores) == [case.name for case in data_set.cases]
    assert all(len(values) == 8 and np.nanmax(values) <= 1 for values in scores.values())
