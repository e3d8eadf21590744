"""The base package, installed from the wheel: a device predicts with it and has no PyTorch."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pip_fixtures import pip

from embedded_vit.errors import missing_extra

REPOSITORY = Path(__file__).resolve().parents[1]
TRAINING_ONLY = ("torch", "scipy", "matplotlib", "onnx", "safetensors", "tensorboard", "h5py")


def embedded_vit(environment: Path, *arguments: object, status: int = 0) -> str:
    """Run the command of an environment, without the checkout on its path; return its stderr."""
    command = [environment / "bin" / "embedded-vit", *map(str, arguments)]
    variables = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == status, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as `make wheel` builds it."""
    folder = tmp_path_factory.mktemp("dist")
    pip(Path(sys.prefix), "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPOSITORY)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def base_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment that holds the base package only, installed from the wheel."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip(folder, "install", "--quiet", "--constraint", REPOSITORY / "requirements.lock", wheel)
    return folder


@pytest.mark.slow
def test_twine_finds_nothing_wrong_with_the_wheel(wheel: Path) -> None:
    pytest.importorskip("twine")
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", wheel], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_a_second_build_elsewhere_gives_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    def left_out(folder: str, names: list[str]) -> set[str]:
        at_top = {".git", ".venv", "build", "dist", "runs", "tests"}
        return set(names) & ({"node_modules", "__pycache__"} | (at_top if Path(folder) == REPOSITORY else set()))

    shutil.copytree(REPOSITORY, tmp_path / "elsewhere", ignore=left_out, copy_function=shutil.copyfile)
    if (REPOSITORY / "build" / "web").is_dir():  # that the page is built already
        shutil.copytree(REPOSITORY / "build" / "web", tmp_path / "elsewhere" / "build" / "web")
    pip(Path(sys.prefix), "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path / "dist", tmp_path / "elsewhere")
    (again,) = (tmp_path / "dist").iterdir()
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_a_built_in_model_of_the_wheel_segments_a_phantom(base_environment: Path, tmp_path: Path) -> None:
    data, mask = tmp_path / "data", tmp_path / "mask.nii.gz"
    embedded_vit(base_environment, "phantom", data, "--layout", "nnunet", "--cases", 2, "--size", 160, "--slices", 40)
    scan = min(data.glob("imagesTr/*.nii.gz"))
    embedded_vit(base_environment, "predict", "abdomen-ct", scan, "-o", mask)
    assert nibabel.load(mask).shape == nibabel.load(scan).shape == (160, 160, 40)
    assert "liver" in json.loads((tmp_path / "mask.json").read_text())["volumes"]


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "library"), [("dicom", "pydicom"), ("h5", "h5py")])
def test_an_extra_is_added_to_the_installed_package_without_it_being_on_an_index(
    base_environment: Path, extra: str, library: str
) -> None:
    planned = pip(base_environment, "install", "--dry-run", missing_extra(library, extra).split("'")[1])
    assert re.search(rf"Would install .*\b{library}-", planned)
    assert "embedded" not in planned.partition("Would install")[2]


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
    arguments = [make_artifact(), tmp_path / "scan.nii.gz", "--output", tmp_path / "mask.nii.gz"]
    embedded_vit(base_environment, "predict", *arguments)
    mask = np.asanyarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj)
    assert mask[10:20, 10:20, 2].all()
    assert not mask[30:].any()
    assert json.loads((tmp_path / "mask.json").read_text())["volumes"]["bright"] > 0


@pytest.mark.slow
def test_training_without_its_extra_is_refused_in_one_line(base_environment: Path, tmp_path: Path) -> None:
    message = embedded_vit(base_environment, "train", "--data", tmp_path, "--output", tmp_path / "run", status=2)
    assert "embedded-vit[train]" in message
    assert len(message.splitlines()) == 1


@pytest.mark.slow
def test_an_h5_volume_without_its_extra_is_refused_in_one_line(
    base_environment: Path, make_artifact: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "case.npy.h5").write_bytes(b"an HDF5 file")
    arguments = [make_artifact(), tmp_path / "case.npy.h5", "--output", tmp_path / "mask.nii.gz"]
    message = embedded_vit(base_environment, "predict", *arguments, status=2)
    assert "embedded-vit[h5]" in message
    assert len(message.splitlines()) == 1
