"""Damaged files by the hundred, or thousand: each is refused in one line, at once; none takes the program down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WHOLE_CAMPAIGN = 20_000  # of each kind; DAMAGED_FILES=20000 runs it, in about an hour
COUNT = int(os.environ.get("DAMAGED_FILES", WHOLE_CAMPAIGN // 100))


@pytest.mark.parametrize("kind", ["artifact", "scan", "dicom", "picture", "itk", "ours", "predictions"])
def test_damaged_files_get_one_line_at_once(kind: str, tmp_path: Path) -> None:
    if kind == "itk":
        pytest.importorskip("SimpleITK")
    mutate = Path(__file__).with_name("mutate.py")
    tests = mutate.parents[1]
    paths = [str(tests), *(str(tests / name) for name in ("benchmark", "report"))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, str(mutate), kind, "0", str(COUNT), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    at_work = (tmp_path / "at-work").read_text()
    assert done.returncode == 0, f"died at file {at_work}: {done.stderr[-1000:]}"
    assert done.stdout == ""
    assert at_work == str(COUNT - 1)
    assert 0 < int(done.stderr.rpartition("accepted: ")[2]) < COUNT  # some damage does not show, most does
