"""Scoring a model against a mask with numbers of its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from embedded_vit.errors import ConfigError
from embedded_vit.labels import LabelSet
from embedded_vit.volume import LabelMap

ROOT = Path(__file__).resolve().parents[2]
TRUTH = np.array([[[5, 5, 7, 0]], [[5, 0, 7, 7]]], dtype=np.uint8)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("another_scanner")


@pytest.fixture
def prediction() -> SimpleNamespace:
    """A prediction that misses one voxel of the liver and finds the whole spleen; there is no aorta."""
    array = np.array([[[1, 1, 2, 0]], [[0, 0, 2, 2]]], dtype=np.uint8)
    labels = LabelSet.from_names(["liver", "spleen", "aorta"])
    return SimpleNamespace(mask=LabelMap(array, np.eye(4)), labels=labels, model="tiny")


def test_numbers_are_translated(script: ModuleType, prediction: SimpleNamespace) -> None:
    dice = script.dice_of(prediction, TRUTH, {"spleen": 7, "liver": 5, "aorta": 52})
    assert dice == pytest.approx([1, 0.8, 1])


def test_what_does_not_fit_is_refused(script: ModuleType, prediction: SimpleNamespace) -> None:
    with pytest.raises(ConfigError, match="knows no 'pancreas'; it knows liver, spleen, aorta"):
        script.dice_of(prediction, TRUTH, {"pancreas": 7})
    with pytest.raises(ConfigError, match="the mask has"):
        script.dice_of(prediction, TRUTH[:1], {"liver": 5})
