"""What leaves the house: no path, no case name and no computer's name in what is given away (docs/security.md)."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
from pathlib import Path

import pytest

from embedded_vit.compression.plan import CompressionPlan
from embedded_vit.compression.steps.distill import Distill
from embedded_vit.datasets import open_data_set
from embedded_vit.export.exporting import export, export_checkpoint
from embedded_vit.predict.predictor import Predictor
from embedded_vit.training.checkpoint import load_checkpoint
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import train

CANARY = "canary"
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def house(nnunet_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a run whose folders, cases and computer all bear the canary's name."""
    top = tmp_path_factory.mktemp(f"{CANARY}-clinic")
    data = Path(shutil.copytree(nnunet_folder, top / "data"))
    for path in list(data.glob("*T?/phantom*")):
        path.rename(path.with_name(path.name.replace("phantom", f"{CANARY}-patient")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: f"{CANARY}-host")
        train(
            data,
            top / "run",
            architecture={"image_size": 32, "widths": (8, 16), "depth": 1},
            training=TrainingConfig.for_recipe("modern", epochs=1, batch_size=8),
            validation_cases=0,
            threads=1,
        )
    return top


def test_a_model_file_holds_no_path_and_no_case_name(house: Path) -> None:
    plan = CompressionPlan(
        steps=(Distill(teacher=(house / "teacher",), epochs=1, unlabelled=Path(f"/wards/{CANARY}-ward")),)
    )
    assert CANARY in json.dumps(plan.plain())  # it could leak
    checkpoint, data_set = load_checkpoint(house / "run"), open_data_set(house / "data")
    made = house / "compressed.onnx"
    export_checkpoint(checkpoint, made, data_set, compression=plan.shareable(), overwrite=True)
    export(house / "run", house / "plain.onnx", overwrite=True)
    for path in (made, house / "plain.onnx"):
        content = path.read_bytes()
        assert CANARY.encode() not in content
        assert str(REPOSITORY).encode() not in content
    assert plan.shareable()["steps"][0]["distill"]["unlabelled"] == "(path left out)"
    assert plan.shareable()["steps"][0]["distill"]["teacher"] == ["(path left out)"]


def test_a_mask_and_its_summary_name_neither_scan_nor_computer(house: Path) -> None:
    export(house / "run", house / "model.onnx", overwrite=True)
    (scan,) = (house / "data" / "imagesTs").iterdir()
    assert CANARY in scan.name
    Predictor.load(house / "model.onnx", threads=1).predict(scan, force=True).save(house / "mask.nii.gz")
    assert CANARY.encode() not in gzip.decompress((house / "mask.nii.gz").read_bytes())
    assert CANARY not in (house / "mask.json").read_text()


def test_tensorboards_files_do_not_name_the_computer(house: Path) -> None:
    files = list((house / "run" / "tensorboard").iterdir())
    assert files
    for path in files:
        assert CANARY not in path.name
        assert f"{CANARY}-host".encode() not in path.read_bytes()


def test_the_page_says_what_each_output_may_hold() -> None:
    page = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
    for output in ("model.onnx", "mask.json", "training.json", "tensorboard/", "metrics.json", "compression.json"):
        assert f"`{output}`" in page
