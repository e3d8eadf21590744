"""Files that older versions wrote still load, and still give the masks that they gave."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from embedded_vit.build.record import read_build_record
from embedded_vit.compression.record import read_compression_record
from embedded_vit.io.mask_file import is_our_mask
from embedded_vit.predict.predictor import Predictor
from embedded_vit.training.checkpoint import load_checkpoint, read_record

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if path.is_dir() and path.name[0].isdecimal())
MOST_BYTES = 300_000  # of a version, as they stay for ever


def each(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(HERE)) for version in VERSIONS for path in (HERE / version).glob(pattern))


def test_there_are_files_of_the_first_version() -> None:
    assert VERSIONS[0] == "0.1.0"
    for version in VERSIONS:
        assert sum(path.stat().st_size for path in (HERE / version).rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize("config", each("*/config.json"))
def test_a_run_folder_loads(config: str) -> None:
    folder = (HERE / config).parent
    checkpoint = load_checkpoint(folder)
    size = checkpoint.config.network.image_size
    with torch.inference_mode():
        logits = checkpoint.network.eval()(torch.zeros(1, 1, size, size))
    assert logits.shape[1] == checkpoint.config.network.classes
    assert torch.isfinite(logits).all()
    assert read_record(folder).selected_epoch == 1


@pytest.mark.parametrize("model", each("*.onnx"))
def test_a_model_file_gives_the_mask_that_it_gave(model: str) -> None:
    path = HERE / model
    prediction = Predictor.load(path, threads=1).predict(path.parent / "scan.nii.gz", force=True)
    expected_path = path.parent / "masks" / f"{path.stem}.nii.gz"
    expected = np.asarray(nibabel.load(expected_path).dataobj)
    assert expected.any()
    np.testing.assert_array_equal(np.asarray(prediction.mask.array), expected)
    assert is_our_mask(expected_path)
    summary = json.loads(expected_path.with_name(f"{path.stem}.json").read_text(encoding="utf-8"))
    assert summary["model_sha256"] == prediction.model_sha256
    assert summary["volumes"] == pytest.approx(prediction.volumes)


@pytest.mark.parametrize("version", VERSIONS)
def test_records_load(version: str) -> None:
    build = read_build_record(HERE / version)
    assert build is not None
    assert (build.data_folder, build.seconds) == ("data", {"plan": 1.5})
    stage = read_compression_record(HERE / version).stages[0]
    assert (stage.name, stage.measured.macs) == ("original", 1000)
