"""The module for 3D Slicer, without Slicer: what it starts, and what it reads of the results.

`slicer`, `qt` and `ctk` are stand-ins that take anything; that Slicer's own classes have the methods that are called
is not tested here.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import nibabel
import numpy as np
import pytest
from artifact_fixtures import RunVerb
from node_fixtures import write_model

MODULE = Path(__file__).resolve().parents[2] / "integrations" / "slicer" / "EmbeddedViT.py"


class _Base:
    def __init__(self, *_: object) -> None:
        pass


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, imported with stand-ins."""
    names = ("ScriptedLoadableModule", "ScriptedLoadableModuleWidget", "ScriptedLoadableModuleLogic")
    loadable = SimpleNamespace(**{name: type(name, (_Base,), {}) for name in names})
    for name, stand_in in {"slicer": MagicMock(), "slicer.ScriptedLoadableModule": loadable,
                           "qt": MagicMock(), "ctk": MagicMock()}.items():  # fmt: skip
        monkeypatch.setitem(sys.modules, name, stand_in)
    spec = importlib.util.spec_from_file_location("EmbeddedViT", MODULE)
    imported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(imported)
    return imported


def write_scan(path: Path) -> None:
    hounsfield = np.full((40, 32, 6), -1000, np.int16)
    hounsfield[8:16, 8:16, 2:4] = 400
    nibabel.save(nibabel.Nifti1Image(hounsfield, np.diag([2.0, 2.0, 3.0, 1.0])), path)


def run(module: ModuleType, folder: Path, model: Path) -> subprocess.CompletedProcess[str]:
    words = module.command("embedded-vit", str(model), folder, force=False)
    command = [sys.executable, "-m", "embedded_vit", *words[1:]]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_what_it_starts_writes_what_it_reads(module: ModuleType, tmp_path: Path) -> None:
    write_scan(tmp_path / "scan.nii.gz")
    assert run(module, tmp_path, write_model(tmp_path / "model.onnx")).returncode == 0
    numbers = set(np.unique(np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj))) - {0}
    assert numbers
    assert numbers <= set(module.structure_names(tmp_path))
    text = module.summary_text(tmp_path)
    assert "Research use only" in text
    assert " ml" in text


def test_a_refusal_is_the_last_line_that_the_program_says(
    module: ModuleType, tmp_path: Path, run_verb: RunVerb
) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"no scan")
    words = module.command("embedded-vit", str(write_model(tmp_path / "model.onnx")), tmp_path, force=True)
    assert words[-1] == "--force"
    status, output, errors = run_verb(*words[1:])
    assert status == 2
    assert "scan.nii.gz" in module.last_line(output + errors)


def test_the_models_that_it_offers_are_built_in(module: ModuleType) -> None:
    from embedded_vit.builtin.index import builtin_names

    assert set(module.MODELS) <= set(builtin_names())
