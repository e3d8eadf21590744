"""`make cases` says where its inputs are missing, and fails where something else became of one."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("cases")


def test_a_missing_folder_is_said(cases: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cases.main([str(tmp_path / "absent")]) == 0
    assert "not there, so there are no cases to run" in capsys.readouterr().out


def test_another_outcome_is_an_error(
    cases: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "scan.nii").write_bytes(b"damaged")
    monkeypatch.setattr(cases, "EXPECTED", {"files": {"": "refused"}})
    assert cases.main([str(tmp_path)]) == 0
    monkeypatch.setattr(cases, "EXPECTED", {"files": {"": "accepted"}})
    assert cases.main([str(tmp_path)]) == 1
    assert "truncated" in capsys.readouterr().out


MAKER = """
import shutil, sys
from pathlib import Path
import nibabel
import numpy as np
source, out = Path(sys.argv[1]), Path(sys.argv[2])
shutil.copytree(source, out / "whole")
shutil.copytree(source, out / "one_lost")
next((out / "one_lost" / "labelsTr").glob("*0001.nii.gz")).unlink()
shutil.copytree(source, out / "moved")
path = min((out / "moved" / "labelsTr").iterdir())
mask = nibabel.load(path)
nibabel.Nifti1Image(np.roll(np.asarray(mask.dataobj), 3, 0), mask.affine, mask.header).to_filename(path)
"""


def test_data_sets_that_a_script_makes_are_read(
    cases: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks that are not those of the source are wrong, though every file can be read."""
    (tmp_path / "maker.py").write_text(MAKER)
    expected = {"whole": "4 + 1", "one_lost": "4 + 1, 1 refused", "moved": "wrong"}
    monkeypatch.setitem(cases.DATA_SETS, "maker", ("nnunet", ((),), expected))
    assert cases.main([str(tmp_path)]) == 0
    monkeypatch.setitem(cases.DATA_SETS, "maker", ("nnunet", ((),), expected | {"moved": "4 + 1"}))
    assert cases.main([str(tmp_path)]) == 1
    assert "of the labels are others" in capsys.readouterr().out


def test_a_script_that_trains_is_judged_by_what_it_prints(
    cases: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trains.py").write_text("print('fingerprints: {} ok')")
    monkeypatch.setitem(cases.PROGRAMS, "trains", (r"\} (.*)", "ok"))
    assert cases.main([str(tmp_path)]) == 0
    (tmp_path / "trains.py").write_text("print('fingerprints: {} STALE')")
    assert cases.main([str(tmp_path)]) == 1


def test_a_script_that_nobody_lists_is_an_error(cases: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text("")
    assert cases.main([str(tmp_path)]) == 1


def test_every_script_beside_the_repository_is_listed(cases: ModuleType, shared_folder: Path) -> None:
    if not (shared_folder / "cases").is_dir():
        pytest.skip("no cases beside the repository")
    assert list(cases._unknown(shared_folder / "cases")) == []
