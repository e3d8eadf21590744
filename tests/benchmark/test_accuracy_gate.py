from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from accuracy_artifacts import organ_graph

from embedded_vit.artifact.manifest import hashed_names
from embedded_vit.benchmark.accuracy_gate import measure_accuracy
from embedded_vit.datasets import open_data_set
from embedded_vit.errors import DataSetError

TESTS = ("case0005", "case0006")


@pytest.fixture
def organ_artifact(make_artifact: Callable[..., Path], synapse_folder: Path) -> Callable[..., Path]:
    """Write an artifact for the phantoms: `organ_artifact(name, shift=0, tests=TESTS, **manifest_fields)`."""
    labels = open_data_set(synapse_folder).labels

    def make(name: str, shift: float = 0.0, tests: tuple[str, ...] = TESTS, **fields: object) -> Path:
        split = {"train": (), "validation": (), "test": hashed_names(tests)}
        return make_artifact(organ_graph(shift), name, labels=labels, split=split, **fields)

    return make


def test_a_model_that_gives_the_same_masks_passes_both_gates(
    organ_artifact: Callable[..., Path], synapse_folder: Path
) -> None:
    models = [organ_artifact("a.onnx"), organ_artifact("b.onnx", precision="int8")]
    accuracy = measure_accuracy(models, synapse_folder, threads=1)
    assert accuracy.cases == 2
    assert accuracy.dice[0] == accuracy.dice[1]
    assert accuracy.dice[0].mean is not None
    assert accuracy.dice[0].mean > 0
    assert (accuracy.keeps_99_percent, accuracy.keeps_99_9_percent, accuracy.kept) == (True, True, 1)
    assert accuracy.no_gate_because is None


def test_a_worse_model_fails_them(organ_artifact: Callable[..., Path], synapse_folder: Path) -> None:
    better, worse = organ_artifact("a.onnx"), organ_artifact("b.onnx", shift=3.0)  # finds no organ at all
    accuracy = measure_accuracy([better, worse], synapse_folder, threads=1)
    assert (accuracy.keeps_99_percent, accuracy.keeps_99_9_percent, accuracy.kept) == (False, False, 0)
    accuracy = measure_accuracy([worse, better], synapse_folder, threads=1)
    assert accuracy.no_gate_because == "the first model finds nothing"
    assert accuracy.keeps_99_percent is None


def test_one_model_has_its_dice_and_no_gate(organ_artifact: Callable[..., Path], synapse_folder: Path) -> None:
    accuracy = measure_accuracy([organ_artifact("a.onnx")], synapse_folder, threads=1)
    assert len(accuracy.dice) == 1
    assert (accuracy.keeps_99_percent, accuracy.keeps_99_9_percent, accuracy.kept) == (None, None, None)
    assert accuracy.no_gate_because == "a gate needs two models"


def test_a_reference_that_is_not_float32_is_no_reference(
    organ_artifact: Callable[..., Path], synapse_folder: Path
) -> None:
    models = [organ_artifact("a.onnx", precision="int8"), organ_artifact("b.onnx")]
    accuracy = measure_accuracy(models, synapse_folder, threads=1)
    assert accuracy.no_gate_because == "the first model is int8; a gate needs a float32 model first"
    assert accuracy.keeps_99_percent is None


def test_models_that_test_on_different_cases_are_not_compared(
    organ_artifact: Callable[..., Path], synapse_folder: Path
) -> None:
    models = [organ_artifact("a.onnx"), organ_artifact("b.onnx", tests=TESTS[:1])]
    with pytest.raises(DataSetError, match="same split"):
        measure_accuracy(models, synapse_folder, threads=1)
