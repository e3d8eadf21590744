"""A folder of built-in models that a test fills; for tests of the package and of the factory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.builtin import index
from embedded_vit.builtin.index import DataSource, Facts, Failure, Figures, OrganFigures, TrainingFacts, TrainingStage

FIGURES = Figures(
    experiment="Cross-validation, 2 folds, 4 patients",
    patients=4,
    dice=0.625,
    dice_interval=(0.5, 0.75),
    nsd=0.5,
    hd95=7.5,
    unit="voxels",
    organs={
        "bright": OrganFigures(dice=0.75, scored=4, missed=0, hallucinated=0),
        "dim": OrganFigures(dice=0.5, scored=3, missed=1, hallucinated=0),
        "absent": OrganFigures(dice=None, scored=0, missed=0, hallucinated=0),
    },
    worst_patient="case0021",
    worst_patient_dice=0.25,
    failures=(Failure(patient="case0021", organ="dim", dice=0.0, kind="missed"),),
)


def example_facts(graph_sha256: str) -> Facts:
    """Make the facts about a model that was never trained."""
    return Facts(
        summary="bright things on CT",
        graph_sha256=graph_sha256,
        figures=(FIGURES,),
        limits=("Dark things are never found.",),
        training=TrainingFacts(
            stages=(TrainingStage(name="tiny", epochs=3),),
            seed=7,
            precision="fp32",
            minutes=12.4,
            machine="an abacus",
        ),
        source=DataSource(
            name="nobody's data", licence="CC BY 4.0", licence_address="https://licence", attribution="Nobody, 2026"
        ),
    )


@pytest.fixture
def builtin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of built-in models, empty."""
    folder = tmp_path / "builtin"
    folder.mkdir()
    monkeypatch.setattr(index, "FOLDER", folder)
    return folder


@pytest.fixture
def add_builtin(builtin_folder: Path, make_artifact: Callable[..., Path]) -> Callable[..., Path]:
    """Put a threshold artifact into that folder: `add_builtin(name, **manifest_fields)`; returns its path."""

    def add(name: str, **fields: object) -> Path:
        path = make_artifact(name=f"builtin/{name}.onnx", **fields)
        _, manifest = read_artifact(path)
        facts = example_facts(manifest.graph_sha256)
        (builtin_folder / f"{name}.json").write_text(facts.model_dump_json(), encoding="utf-8")
        return path

    return add
