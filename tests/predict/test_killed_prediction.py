"""A prediction of a folder that is killed anywhere: no mask without its summary, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from embedded_vit.predict.folder import Listener, predict_path
from embedded_vit.predict.predictor import Predictor

MakeArtifact = Callable[..., Path]
SCANS = 4
pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")

# Kills itself at the N-th of the steps that put a file somewhere or begin or end one, as a person would from outside.
PROGRAM = """
import os, signal, sys
from embedded_vit.io import mask_file
from embedded_vit.predict.folder import predict_path
from embedded_vit.predict.predictor import Predictor

steps, last = 0, int(sys.argv[4])
def step():
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)

def around(function):
    def called(*arguments, **options):
        step()
        result = function(*arguments, **options)
        step()
        return result
    return called

os.replace = around(os.replace)
os.fsync = around(os.fsync)
mask_file.write_labels = around(mask_file.write_labels)
predict_path(Predictor.load(sys.argv[1], threads=1), sys.argv[2], sys.argv[3])
print(steps)
"""


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(SCANS):
        array = np.full((32, 32, 4), -1000, np.int16)
        array[8:16, 8 : 16 + number, 1:3] = 400
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1, 3, 1])), folder / f"{number}.nii.gz")
    return folder


def killed(artifact: Path, scans: Path, out: Path, step: int) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", PROGRAM, str(artifact), str(scans), str(out), str(step)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check_whole(out: Path) -> int:
    """Check that every mask can be read and has its summary; return how many there are."""
    masks = [path for path in out.glob("*.nii.gz") if not path.name.startswith(".")] if out.is_dir() else []
    for mask in masks:
        volumes = json.loads(mask.with_name(mask.name.replace(".nii.gz", ".json")).read_text())["volumes"]
        voxels = np.count_nonzero(np.asarray(nibabel.load(mask).dataobj))
        assert volumes["bright"] == pytest.approx(voxels * 3 / 1000)
    return len(masks)


def test_no_kill_leaves_a_mask_alone_and_the_next_run_goes_on(make_artifact: MakeArtifact, scans: Path) -> None:
    artifact = make_artifact()
    whole = killed(artifact, scans, scans.with_name("whole"), 0)
    assert whole.returncode == 0, whole.stderr
    steps = int(whole.stdout)
    assert steps >= 8 * SCANS  # for each scan: writing, flushing and renaming mask and summary, before and after
    predictor = Predictor.load(artifact, threads=1)
    masks_before = set()
    for step in (1, 3, 7, 8, 10, 11, 12, 17, 20, steps - 1, steps):
        out = scans.with_name(f"out{step}")
        assert killed(artifact, scans, out, step).returncode == -signal.SIGKILL
        there = check_whole(out)
        masks_before.add(there)
        said: list[str] = []
        masks = predict_path(predictor, scans, out, listener=Listener(on_remark=said.append))
        assert check_whole(out) == len(masks) == SCANS
        written = [f"{number}{suffix}" for number in range(SCANS) for suffix in (".json", ".nii.gz", "_preview.png")]
        assert sorted(path.name for path in out.iterdir()) == sorted([*written, "volumes.csv"])  # nothing temporary
        rows = (out / "volumes.csv").read_text().splitlines()[1:]
        assert [row.split(",")[0] for row in rows] == [f"{number}.nii.gz" for number in range(SCANS)]
        counted = [sentence for sentence in said if "there already" in sentence]
        assert counted == ([f"{out}: {there} {'was' if there == 1 else 'were'} there already"] if there else [])
    assert masks_before >= {0, 1, SCANS}
