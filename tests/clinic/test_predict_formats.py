"""`predict --format`: which files there are, what they hold of a patient, and what becomes of a run that was killed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_fixtures import SECRET, write_series
from leftover_fixtures import NOBODY, left_by

from embedded_vit.clinic import results_for
from embedded_vit.clinic.coding import code_of
from embedded_vit.errors import ConfigError, OutputError
from embedded_vit.io.scan_folder import find_scans
from embedded_vit.labels import LabelSet
from embedded_vit.predict.folder import predict_path
from embedded_vit.predict.predictor import Predictor

MakeArtifact = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked:UserWarning")


def bright_series(folder: Path, **tags: object) -> Path:
    hounsfield = np.full((4, 32, 40), -1000, np.int16)
    hounsfield[1:3, 8:16, 8:16] = 400
    write_series(folder, hounsfield, **tags)
    return folder


ENDINGS = (".json", ".nii.gz", "_preview.png", "_sc.dcm", "_seg.dcm")


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_formats_lie_beside_the_mask(predict, make_artifact: MakeArtifact, tmp_path: Path) -> None:
    series, out = bright_series(tmp_path / "series"), tmp_path / "out"
    status, printed, _ = predict(make_artifact(), series, "-o", out / "case.nii.gz", "--format", "all")
    assert status == 0
    assert names_in(out) == ["case.json", "case.nii.gz", "case_preview.png", "case_sc.dcm", "case_seg.dcm"]
    assert printed.split() == [str(out / name) for name in ("case_seg.dcm", "case_sc.dcm", "case.nii.gz")]
    mask = np.asarray(nibabel.load(out / "case.nii.gz").dataobj)
    segmentation = pydicom.dcmread(out / "case_seg.dcm")
    assert segmentation.NumberOfFrames == 2
    np.testing.assert_array_equal(segmentation.pixel_array, mask.T[1:3])
    capture = pydicom.dcmread(out / "case_sc.dcm")
    assert capture.SeriesDescription == "Research use only: page by threshold"
    assert (capture.StudyInstanceUID, capture.Modality, capture.SOPClassUID.name) == (
        "1.2.4",
        "OT",
        "Secondary Capture Image Storage",
    )
    colours = {tuple(pixel) for pixel in capture.pixel_array.reshape(-1, 3)}
    assert LabelSet.from_names(["bright"]).labels[0].rgb in colours


@pytest.mark.parametrize("there", [False, True], ids=["to be made", "there"])
def test_a_folder_takes_the_files_of_one_series_by_its_name(
    predict, make_artifact: MakeArtifact, tmp_path: Path, there: bool
) -> None:
    series, out = bright_series(tmp_path / "ward 3"), tmp_path / "deep" / "out"
    if there:
        out.mkdir(parents=True)
    status, printed, said = predict(make_artifact(), series, "-o", out, "--format", "all")
    assert (status, len(printed.splitlines())) == (0, 3), said
    assert names_in(out) == ["volumes.csv", *(f"ward 3{end}" for end in ENDINGS)]
    status, _, said = predict(make_artifact(), series, "-o", tmp_path / "out.txt", "--format", "all")
    assert status == 2
    assert "choose a name that ends in .nii.gz" in said
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize(("kind", "ending"), [("dicom-seg", "seg"), ("sc", "sc")])
def test_one_format_alone(predict, make_artifact: MakeArtifact, tmp_path: Path, kind: str, ending: str) -> None:
    series, model, out = bright_series(tmp_path / "in" / "series"), make_artifact(), tmp_path / "out"
    assert predict(model, series, "-o", tmp_path / "one" / "x.dcm", "--format", kind)[0] == 0
    assert names_in(tmp_path / "one") == ["x.dcm", "x.json"]
    assert predict(model, series, "-o", out, "--format", kind)[0] == 0
    assert names_in(out) == [f"series_{ending}.dcm", f"series_{ending}.json", "volumes.csv"]
    out = tmp_path / "of a folder"
    assert predict(model, tmp_path / "in", "-o", out, "--format", kind)[0] == 0
    assert names_in(out) == [f"series_{ending}.dcm", f"series_{ending}.json", "volumes.csv"]
    status, _, said = predict(model, series, "-o", tmp_path / "x.nii.gz", "--format", kind)
    assert (status, len(said.strip().splitlines())) == (2, 1)
    assert "x.nii.gz: DICOM is written; choose a name that ends in .dcm" in said


def test_a_folder_of_series_and_a_file_that_is_no_series(predict, make_artifact: MakeArtifact, tmp_path: Path) -> None:
    bright_series(tmp_path / "in" / "ward" / "one")
    bright_series(tmp_path / "in" / "two", SeriesInstanceUID="1.2.9")
    nibabel.save(nibabel.Nifti1Image(np.full((8, 8, 4), -1000, np.int16), np.eye(4)), tmp_path / "in" / "three.nii.gz")
    arguments = (make_artifact(), tmp_path / "in", "-o", tmp_path / "out", "--format", "all")
    status, _, said = predict(*arguments)
    assert status == 2
    assert "three.nii.gz: NIfTI; a DICOM segmentation refers to the DICOM series" in said
    files = [f"{case}{end}" for case in ("two", "ward/one") for end in ENDINGS]
    assert names_in(tmp_path / "out") == sorted([*files, "volumes.csv"])
    (tmp_path / "in" / "three.nii.gz").unlink()
    status, printed, said = predict(*arguments)
    assert (status, len(printed.split())) == (0, 6)
    assert "2 were there already" in said


KILL = """
import os, signal, sys
from embedded_vit.clinic import results_for
from embedded_vit.clinic.secondary_capture import SecondaryCapture
from embedded_vit.predict.folder import predict_path
from embedded_vit.predict.predictor import Predictor
SecondaryCapture.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
predict_path(Predictor.load(sys.argv[1], threads=1), sys.argv[2], sys.argv[3], results=results_for("all"))
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_run_goes_on(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    series, model, out = bright_series(tmp_path / "in" / "one"), make_artifact(), tmp_path / "out"
    bright_series(tmp_path / "in" / "two", SeriesInstanceUID="1.2.9")
    subprocess.run([sys.executable, "-c", KILL, str(model), str(series.parent), str(out)], check=False)
    assert names_in(out) == ["one.json", "one_seg.dcm"]
    left_by(NOBODY, out / "one_sc.dcm").write_bytes(b"half of it")
    predict_path(Predictor.load(model, threads=1), tmp_path / "in", out, results=results_for("all"))
    files = [f"{case}{end}" for case in ("one", "two") for end in ENDINGS]
    assert names_in(out) == [*files, "volumes.csv"]


def test_files_of_others_are_not_written_over(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    series, predictor = bright_series(tmp_path / "series"), Predictor.load(make_artifact(), threads=1)
    (tmp_path / "case_seg.dcm").write_bytes(b"somebody's")
    with pytest.raises(OutputError, match=r"case_seg.dcm: exists already"):
        predict_path(predictor, series, tmp_path / "case.nii.gz", results=results_for("all"))
    assert (tmp_path / "case_seg.dcm").read_bytes() == b"somebody's"
    assert not (tmp_path / "case.json").exists()


def test_results_beside_the_series_are_not_scans(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    series, predictor = bright_series(tmp_path / "in" / "series"), Predictor.load(make_artifact(), threads=1)
    predict_path(predictor, series, tmp_path / "in" / "results" / "case.nii.gz", results=results_for("all"))
    predict_path(predictor, series, series / "case.dcm", results=results_for("dicom-seg"))
    scans, _ = find_scans(tmp_path / "in")
    assert [scan.place for scan in scans] == [series]
    again = predict_path(predictor, tmp_path / "in", tmp_path / "again", results=results_for("all"))
    assert {path.parent for path in again} == {tmp_path / "again"}


def test_patient_fields_are_in_the_dicom_files_and_nowhere_else(
    predict, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    fields = ("PatientComments", "StudyDescription", "AccessionNumber", "StudyID", "InstitutionName")
    tags = {"PatientID": "canary-4711", "ReferringPhysicianName": "canary^"} | dict.fromkeys(fields, "canary")
    series = bright_series(tmp_path / "series", **tags, PatientSex="canary or worse", PatientBirthDate="canary")
    status, printed, said = predict(make_artifact(), series, "-o", tmp_path / "case.nii.gz", "--format", "all")
    assert status == 0
    for name in ("case_seg.dcm", "case_sc.dcm"):
        header = pydicom.dcmread(tmp_path / name)
        assert (header.PatientID, str(header.PatientName)) == ("canary-4711", f"{SECRET}^Erika")
        assert (header.StudyDescription, header.AccessionNumber) == ("canary", "canary")
    summary = (tmp_path / "case.json").read_text()
    nifti = gzip.decompress((tmp_path / "case.nii.gz").read_bytes()).decode("latin-1")
    for text in (printed, said, summary, nifti, *names_in(tmp_path)):
        assert "canary" not in text
        assert SECRET not in text
    assert json.loads(summary)["input_format"] == "DICOM"


def test_an_odd_series_fails_in_one_line_without_text_of_it(
    predict, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    series = bright_series(tmp_path / "series", SOPClassUID="1.2.3.4.5", PatientName="canary\\canary")
    status, _, said = predict(make_artifact(), series, "-o", tmp_path / "case.nii.gz", "--format", "all")
    assert status == 2
    assert "no DICOM result can be made of this series" in said
    assert "canary" not in said
    assert "Traceback" not in said
    assert names_in(tmp_path) == ["model.onnx", *(f"series/{path.name}" for path in sorted(series.iterdir()))]


def test_names_without_a_known_code_get_a_private_one() -> None:
    labels = LabelSet.from_names(["liver", "Left_Kidney", "my tumour", "hippocampus", "hippocampus_anterior"])
    codes = [code_of(label, labels.names) for label in labels.labels]
    shown = [(code.structure.CodeValue, code.structure.CodingSchemeDesignator) for code in codes]
    assert shown[:2] == [("10200004", "SCT"), ("18639004", "SCT")]
    assert shown[2] == ("EV138C3C3F059D", "99EVIT")
    assert shown[3:] == [("5366008", "SCT")] * 2
    assert (codes[3].modifier, codes[4].modifier.CodeMeaning) == (None, "Anterior")
    decathlon = LabelSet.from_names(["Anterior", "Posterior"])
    parts = [code_of(label, decathlon.names) for label in decathlon.labels]
    assert [part.modifier.CodeValue for part in parts] == ["255549009", "255551008"]
    alone = LabelSet.from_names(["Anterior"])
    assert code_of(alone.labels[0], alone.names).structure.CodingSchemeDesignator == "99EVIT"


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="--labelmap with --format sc: "):
        results_for("sc", labelmap=True)
    with pytest.raises(ConfigError, match="--labelmap with --format nifti: "):
        results_for("nifti", labelmap=True)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="Debian's dicom3tools are not installed")
def test_dciodvfy_finds_no_error_in_a_secondary_capture(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    series, predictor = bright_series(tmp_path / "series"), Predictor.load(make_artifact(), threads=1)
    predict_path(predictor, series, tmp_path / "sc.dcm", results=results_for("sc"))
    checked = subprocess.run(["dciodvfy", str(tmp_path / "sc.dcm")], capture_output=True, text=True, check=False)
    assert [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")] == []
