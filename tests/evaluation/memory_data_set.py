"""A model and data sets that need neither training nor files: intensities tell the label, and the engine reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embedded_vit.artifact.manifest import hashed_names
from embedded_vit.contract import Contract
from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.evaluation import evaluating as evaluate_module
from embedded_vit.evaluation.evaluated_model import EvaluatedModel
from embedded_vit.labels import LabelSet
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import LabelMap, Volume

LABELS = LabelSet.from_names(["liver", "left <kidney>", "spleen"])
CONTRACT = Contract(preprocessing=Preprocessing.for_modality("CT", image_size=32), labels=LABELS)
SLP_AFFINE = np.array([[0, -0.8, 0, 0], [0, 0, -0.8, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])  # 3 x 0.8 x 0.8 mm


class IntensityEngine:
    """Reads the label off the intensity: [-1, 1] in equal steps from background to the last structure."""

    streams = 1

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        levels = np.linspace(-1, 1, LABELS.classes, dtype=np.float32)[:, None, None]
        return -((image_bchw[:, :1] - levels) ** 2)


@dataclass(frozen=True)
class MemoryDataSet(DataSet):
    """A data set in memory.

    Attributes:
        truths: Case name -> (slices, rows, columns) labels.
        shown: Case name -> the labels that the scan's intensities show, and that the engine will find.
    """

    truths: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    shown: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    affine: NDArray[np.float64] = field(default_factory=lambda: SLP_AFFINE)
    unknown_spacing: tuple[str, ...] = ()

    def read_volume(self, case: Case) -> Volume:
        intensities = (self.shown[case.name].astype(np.float32) / len(LABELS.labels) * 400 - 125)[None]
        return Volume(intensities, self.affine, spacing_known=case.name not in self.unknown_spacing, source=case.name)

    def read_labels(self, case: Case) -> LabelMap:
        known = case.name not in self.unknown_spacing
        return LabelMap(self.truths[case.name], self.affine, spacing_known=known, source=case.name)


def box_mask(*boxes: tuple[int, slice, slice, slice], shape: tuple[int, int, int] = (6, 32, 32)) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    for label, *where in boxes:
        mask[tuple(where)] = label
    return mask


def memory_data_set(
    truths: Mapping[str, NDArray[np.uint8]], shown: Mapping[str, NDArray[np.uint8]] | None = None, **fields: Any
) -> MemoryDataSet:
    settings: dict[str, Any] = {"channels": ("CT",), "modality": "CT", "labels": LABELS, **fields}
    cases = tuple(Case(name, name) for name in sorted(truths))
    shown = {**truths, **(shown or {})}
    return MemoryDataSet(Path("memory"), "boxes", cases=cases, truths=truths, shown=shown, **settings)


def evaluated_model(split: Mapping[str, Sequence[str]] | None = None) -> EvaluatedModel:
    split = {"train": (), "validation": (), "test": (), **(split or {})}
    return EvaluatedModel(
        path=Path("model.onnx"),
        kind="artifact",
        engine=IntensityEngine(),
        contract=CONTRACT,
        digest="0" * 64,
        split={name: hashed_names(tuple(names)) for name, names in split.items()},
        computed_by="intensities",
    )


def install(monkeypatch: pytest.MonkeyPatch, model: EvaluatedModel, data_set: MemoryDataSet) -> None:
    """Make `evaluate` find this model and this data set, whatever the paths."""
    monkeypatch.setattr(evaluate_module, "open_model", lambda path, **options: model)
    monkeypatch.setattr(evaluate_module, "open_data_set_like", lambda *_, **options: data_set)
