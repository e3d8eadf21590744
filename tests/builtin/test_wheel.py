"""The wheel holds the built-in models: git ignores *.onnx elsewhere, and hatchling leaves out what git ignores."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pip_fixtures import pip

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_model_goes_into_the_wheel(add_builtin: Callable[..., Path], tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(REPOSITORY / "src", sources / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "hatch_build.py"):
        shutil.copy(REPOSITORY / name, sources / name)
    artifact, folder = add_builtin("bright-ct"), sources / "src" / "embedded_vit" / "builtin"
    for path in (artifact, artifact.with_suffix(".json")):
        shutil.copy(path, folder / path.name)
    pip(Path(sys.prefix), "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, sources)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"embedded_vit/builtin/{name}" for name in ("bright-ct.onnx", "bright-ct.json", "NOTICE.md")} <= names
    assert "embedded_vit/compression/plans/embedded-cpu.yaml" in names
