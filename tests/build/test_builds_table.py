"""The table of what builds came to."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from embedded_vit.errors import CheckpointError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("builds")


def test_a_row_says_what_the_files_of_the_build_say(
    builds: ModuleType, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builds.main([str(built)])
    row = capsys.readouterr().out.splitlines()[2]
    assert "64 pixels" in row
    assert "liver 0." in row


def test_every_voxel_of_the_held_out_cases_is_counted_once(builds: ModuleType, built: Path) -> None:
    counts = builds.confusions(built)
    assert counts.shape == (9, 9)
    assert (counts[1:].sum(axis=1) > 0).sum() >= 7, "nearly every structure is in the held-out phantoms"


def test_confusions_are_shares_of_a_structure(builds: ModuleType) -> None:
    counts = np.array([[90, 5, 5], [1, 3, 0], [0, 0, 0]])
    assert builds.confusion_rows(counts, ("background", "left", "right")) == [
        ("left", "25.00", "75.00", "0.00"),
        ("right", "0.00", "0.00", "0.00"),
    ]


def test_a_folder_without_a_finished_build_is_refused(builds: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no finished build"):
        builds.row(tmp_path)
