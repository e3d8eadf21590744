"""The base package, installed by itself: a device predicts with it and has no PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TRAINING_ONLY = ("torch", "scipy", "matplotlib", "onnx", "safetensors", "tensorboard", "h5py")


@pytest.fixture(scope="module")
def base_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment that holds the base package only."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", REPOSITORY / "requirements.lock"]
    installed = subprocess.run([*pip, *constraints, REPOSITORY], capture_output=True, text=True, check=False)
    if installed.returncode and "No matching distribution" in installed.stderr:
        pytest.skip("no package index can be reached")
    assert installed.returncode == 0, installed.stderr
    return folder


@pytest.mark.slow
def test_predicts_without_what_only_training_needs(
    base_environment: Path, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    python = base_environment / "bin" / "python"
    check = "import importlib.util, sys; print([m for m in sys.argv[1:] if importlib.util.find_spec(m)])"
    found = subprocess.run([python, "-c", check, *TRAINING_ONLY], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

    hounsfield = np.full((40, 40, 5), -1000, np.int16)
    hounsfield[10:20, 10:20, 1:4] = 400
    nibabel.save(nibabel.Nifti1Image(hounsfield, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / "scan.nii.gz")
    command = base_environment / "bin" / "embedded-vit"
    arguments = ["predict", make_artifact(), tmp_path / "scan.nii.gz", "--output", tmp_path / "mask.nii.gz"]
    subprocess.run([command, *arguments], check=True, env=os.environ | {"PYTHONPATH": ""})
    mask = np.asanyarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj)
    assert mask[10:20, 10:20, 2].all()
    assert not mask[30:].any()
    assert json.loads((tmp_path / "mask.json").read_text())["volumes"]["bright"] > 0


@pytest.mark.slow
def test_training_without_its_extra_is_refused_in_one_line(base_environment: Path, tmp_path: Path) -> None:
    command = base_environment / "bin" / "embedded-vit"
    refused = subprocess.run(
        [command, "train", "--data", tmp_path, "--output", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "embedded-vit[train]" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_an_h5_volume_without_its_extra_is_refused_in_one_line(
    base_environment: Path, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "case.npy.h5").write_bytes(b"an HDF5 file")
    command = base_environment / "bin" / "embedded-vit"
    arguments = ["predict", make_artifact(), tmp_path / "case.npy.h5", "--output", tmp_path / "mask.nii.gz"]
    refused = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "embedded-vit[h5]" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
