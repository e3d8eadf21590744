"""Folders of scans and the command line: what is written, what is said, and the exit status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from embedded_vit.io.scan_source import scan_stem

MakeArtifact = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked:UserWarning")


def write_ct(path: Path, lowest: int = -1000) -> Path:
    hounsfield = np.full((32, 32, 4), lowest, np.int16)
    hounsfield[8:16, 8:16, 1:3] = 400
    nibabel.save(nibabel.Nifti1Image(hounsfield, np.diag([1.0, 1, 3, 1])), path)
    return path


@pytest.fixture
def run(run_verb: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return run_verb


def files_in(folder: Path) -> list[str]:
    """The files below a folder without previews and tables, which test_beside_masks.py looks at."""
    paths = (path for path in folder.rglob("*") if not path.name.endswith(("_preview.png", "volumes.csv")))
    return sorted(str(path.relative_to(folder)) for path in paths if path.is_file())


def test_one_scan_gives_mask_and_summary(run, make_artifact: MakeArtifact, tmp_path: Path) -> None:
    scan, out = write_ct(tmp_path / "scan.nii.gz"), tmp_path / "new" / "mask.nii.gz"
    status, printed, _ = run("predict", make_artifact(), scan, "-o", out, "--threads", 1)
    assert (status, printed.strip()) == (0, str(out))
    assert files_in(out.parent) == ["mask.json", "mask.nii.gz"]


def test_one_bad_file_among_many_is_told_and_the_others_done(run, make_artifact: MakeArtifact, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "masks"
    scans.mkdir()
    write_ct(scans / "a.nii.gz")
    write_ct(scans / "c.nii")
    content = bytearray(write_ct(scans / "b.nii.gz").read_bytes())
    content[len(content) // 2] ^= 16
    (scans / "b.nii.gz").write_bytes(content)
    (scans / "notes.txt").write_text("not a scan")
    status, printed, errors = run("predict", make_artifact(), scans, "--output", out)
    assert status == 2
    assert "b.nii.gz: truncated or damaged" in errors
    assert "1 of 3 scans failed; 2 masks are in" in errors
    assert files_in(out) == ["a.json", "a.nii.gz", "c.json", "c.nii.gz"]
    assert printed == ""


def test_scans_are_found_at_any_depth_and_masks_lie_as_they_do(
    run, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    patient = tmp_path / "patient"
    for folder in ("a/ct", "b/ct", ".cache"):
        (patient / folder).mkdir(parents=True)
        write_ct(patient / folder / "scan.nii.gz")
    (patient / "a" / "._scan.nii.gz").write_bytes(b"what macOS leaves beside a file")
    write_ct(patient / "top.nii")
    out = patient / "masks"
    status, printed, _ = run("predict", make_artifact(), patient, "--output", out)
    masks = ["top.nii.gz", "a/ct/scan.nii.gz", "b/ct/scan.nii.gz"]
    assert (status, printed.splitlines()) == (0, [str(out / mask) for mask in masks])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    status, printed, errors = run("predict", make_artifact(), patient, "--output", out)
    assert (status, "3 were there already" in errors) == (0, True)  # its own masks are no scans
    assert printed.splitlines() == [str(out / mask) for mask in masks]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_one_scan_somewhere_below_may_have_its_mask_named(run, make_artifact: MakeArtifact, tmp_path: Path) -> None:
    (tmp_path / "patient" / "study" / "series").mkdir(parents=True)
    write_ct(tmp_path / "patient" / "study" / "series" / "scan.nii.gz")
    out = tmp_path / "mask.nii.gz"
    status, printed, _ = run("predict", make_artifact(), tmp_path / "patient", "--output", out)
    assert (status, printed.strip()) == (0, str(out))
    write_ct(tmp_path / "patient" / "other.nii.gz")
    status, _, errors = run("predict", make_artifact(), tmp_path / "patient", "-o", tmp_path / "second.nii.gz")
    assert status == 2
    assert "holds 2 scans; give a folder" in errors


def test_two_scans_never_share_a_mask(run, make_artifact: MakeArtifact, tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    write_ct(scans / "a.nii.gz")
    write_ct(scans / "a.nii")
    status, _, errors = run("predict", make_artifact(), scans, "--output", tmp_path / "masks")
    assert status == 2
    assert "exists already" in errors


def test_a_scan_outside_the_contract_exits_with_3_and_force_goes_on(
    run, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    artifact, scan, out = make_artifact(), write_ct(tmp_path / "scan.nii.gz", lowest=0), tmp_path / "mask.nii.gz"
    status, _, errors = run("predict", artifact, scan, "-o", out)
    assert status == 3
    assert len(errors.splitlines()) == 1
    assert not out.exists()
    status, _, _ = run("predict", artifact, scan, "-o", out, "--force")
    assert status == 0
    assert '"forced": true' in (tmp_path / "mask.json").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "truncated or damaged"),
        (lambda path: path.write_bytes(b""), "less than a NIfTI header"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_a_bad_scan_is_one_line_exit_2_and_no_file(
    run, make_artifact: MakeArtifact, tmp_path: Path, change: Callable, message: str
) -> None:
    scan = write_ct(tmp_path / "scan.nii.gz")
    artifact = make_artifact()
    change(scan)
    before = files_in(tmp_path)
    status, _, errors = run("predict", artifact, scan, "-o", tmp_path / "mask.nii.gz")
    assert status == 2
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert files_in(tmp_path) == before


def test_what_exists_is_left_alone_before_anything_is_computed(
    run, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    scan, out = write_ct(tmp_path / "scan.nii.gz"), tmp_path / "mask.nii.gz"
    (tmp_path / "mask.json").write_text("mine")
    status, _, errors = run("predict", make_artifact(), scan, "-o", out)
    assert status == 2
    assert "exists already" in errors
    assert not out.exists()


def test_an_empty_folder_and_a_file_as_output_folder_are_refused(
    run, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    artifact = make_artifact()
    (tmp_path / "empty").mkdir()
    assert run("predict", artifact, tmp_path / "empty", "-o", tmp_path / "out")[0] == 2
    status, _, errors = run("predict", artifact, tmp_path / "empty", "-o", artifact)
    assert status == 2
    assert "give a folder" in errors


@pytest.mark.parametrize("name", ["case.nii.gz", "case.nii", "case.npy.h5", "case.h5", "case.NII.GZ"])
def test_a_mask_is_named_as_its_scan(name: str) -> None:
    assert scan_stem(Path("scans") / name) == "case"


def test_a_dot_in_a_name_stays() -> None:
    assert scan_stem(Path("scan.1.2.nii.gz")) == "scan.1.2"
