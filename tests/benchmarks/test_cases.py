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
