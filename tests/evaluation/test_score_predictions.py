"""Masks of any program are scored against the cases of their names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import DataSetError
from embedded_vit.evaluation.predictions import score_predictions
from embedded_vit.io.nifti import write_labels
from embedded_vit.volume import LabelMap


def masks_of(data: Path, folder: Path, *, skip: str = "") -> Path:
    """Write the true masks of a data set as somebody's predictions, in another axis order."""
    data_set = open_data_set(data)
    for case in data_set.cases:
        if case.name != skip:
            turned = data_set.read_labels(case).reoriented("PIR")
            write_labels(folder / f"{case.name}.nii.gz", LabelMap(np.ascontiguousarray(turned.array), turned.affine))
    return folder


def test_true_masks_score_one_in_any_axis_order(nnunet_folder: Path, tmp_path: Path) -> None:
    evaluation = score_predictions(masks_of(nnunet_folder, tmp_path / "masks"), nnunet_folder, output=tmp_path / "out")
    assert len(evaluation.cases) == 4
    assert evaluation.summaries["dice"].overall.mean == 1
    assert evaluation.summaries["hd95"].overall.mean == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["model"]["kind"] == "masks"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cases.csv", "metrics.json", "report.html"}


def test_missing_and_damaged_masks_are_named(nnunet_folder: Path, tmp_path: Path) -> None:
    (test,) = [case.name for case in open_data_set(nnunet_folder).cases if case.reserved_for_test]
    masks = masks_of(nnunet_folder, tmp_path / "masks", skip=test)
    (masks / "phantom_0001.nii.gz").write_bytes(b"?")
    write_labels(masks / "stranger.nii.gz", LabelMap(np.zeros((2, 2, 2), np.uint8), np.eye(4)))
    evaluation = score_predictions(masks, nnunet_folder, output=tmp_path / "out", structures=["liver", "spleen"])
    assert evaluation.labels.names == ("liver", "spleen")
    assert set(evaluation.unscored) == {test, "phantom_0001"}
    assert any("1 mask has no case of its name" in note for note in evaluation.notes)


def test_a_folder_without_any_mask_is_one_line(nnunet_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="no such folder"):
        score_predictions(tmp_path / "absent", nnunet_folder, output=tmp_path / "a")
    write_labels(tmp_path / "masks" / "x.nii.gz", LabelMap(np.zeros((2, 2, 2), np.uint8), np.eye(4)))
    with pytest.raises(DataSetError, match=r"no mask of that name|no mask is named"):
        score_predictions(tmp_path / "masks", nnunet_folder, output=tmp_path / "b")


def test_masks_of_predict_are_matched_by_the_names_of_structures(tmp_path: Path) -> None:
    truth = np.zeros((20, 30), np.uint8)
    truth[3:9, 4:12], truth[12:18, 5:25] = 1, 2
    for name in ("images", "masks", "predicted"):
        (tmp_path / name).mkdir()
    Image.fromarray(truth * np.uint8(90)).save(tmp_path / "images" / "a.png")
    Image.fromarray(truth).save(tmp_path / "masks" / "a.png")
    Image.fromarray((3 - truth) * (truth > 0)).save(tmp_path / "predicted" / "a.png")  # 1 and 2 the other way round
    Image.fromarray(truth).save(tmp_path / "predicted" / "a_overlay.png")
    Image.fromarray(truth).save(tmp_path / "predicted" / "a_preview.png")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "cup": 1, "disc": 2}}))
    summary = {"model_sha256": "0", "areas": {}, "labels": {"disc": 1, "Cup": 2}}
    (tmp_path / "predicted" / "a.json").write_text(json.dumps(summary))
    evaluation = score_predictions(tmp_path / "predicted", tmp_path, output=tmp_path / "out")
    assert evaluation.summaries["dice"].overall.mean == 1
