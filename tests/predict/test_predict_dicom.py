"""From a DICOM folder to a mask, by the command line and from Python."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_fixtures import SECRET, write_series

import embedded_vit
from embedded_vit.io.dicom import DicomSource, find_series
from embedded_vit.io.nifti import read_labels, read_volume
from embedded_vit.predict.predictor import Predictor

MakeArtifact = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:Cyclopts application invoked:UserWarning")


@pytest.fixture
def stored() -> np.ndarray:
    """Air, and something bright in the upper left of the middle slices."""
    hounsfield = np.full((4, 32, 40), -1000, np.int16)
    hounsfield[1:3, 8:16, 8:16] = 400
    return hounsfield


@pytest.mark.parametrize("step", [(0, 0, 2.5), (0, -0.7, 2.5)], ids=["straight", "tilted gantry"])
def test_a_series_gives_one_mask_on_its_own_grid(
    predict, make_artifact: MakeArtifact, tmp_path: Path, stored: np.ndarray, step: tuple[float, ...]
) -> None:
    folder, out = tmp_path / "series", tmp_path / "mask.nii.gz"
    write_series(folder, stored, step=step)
    status, printed, _ = predict(make_artifact(), folder, "-o", out)
    assert (status, printed.strip()) == (0, str(out))
    mask = nibabel.load(out)
    np.testing.assert_array_equal(np.asarray(mask.dataobj).T, stored == 400)
    np.testing.assert_allclose(mask.affine, DicomSource(find_series(folder, modality="CT")).affine, atol=1e-5)
    summary = json.loads((tmp_path / "mask.json").read_text())
    assert summary["input_format"] == "DICOM"
    assert summary["input_sha256"] == find_series(folder, modality="CT").sha256()
    assert summary["volumes"]["bright"] == pytest.approx(2 * 8 * 8 * 0.6 * 0.8 * 2.5 / 1000, abs=1e-3)
    assert SECRET not in json.dumps(summary)
    assert SECRET.encode() not in gzip.decompress(out.read_bytes())


def test_a_phantom_has_the_same_mask_as_dicom_and_as_nifti(
    make_artifact: MakeArtifact, tmp_path: Path, decathlon_folder: Path
) -> None:
    path = sorted((decathlon_folder / "imagesTr").iterdir())[0]
    volume = read_volume(path)  # LPS+, as DICOM has it
    rows_mm, columns_mm, slices_mm = volume.spacing_mm
    start = volume.affine[:3, 3] * (-1, -1, 1)
    step, tags = (0, 0, slices_mm), {"PixelSpacing": [columns_mm, rows_mm], "RescaleIntercept": volume.intercept}
    write_series(tmp_path / "series", volume.array[0].T, start=start, step=step, **tags)
    predictor = embedded_vit.load(make_artifact())
    for name, scan in (("dicom", tmp_path / "series"), ("nifti", path)):
        predictor.predict(scan).save(tmp_path / f"{name}.nii")
    dicom, nifti = (read_labels(tmp_path / f"{name}.nii").reoriented() for name in ("dicom", "nifti"))
    assert dicom.array.any()
    np.testing.assert_array_equal(dicom.array, nifti.array)
    np.testing.assert_allclose(dicom.affine, nifti.affine, atol=1e-3)


def test_folders_of_series_and_files_give_a_mask_each(
    predict, make_artifact: MakeArtifact, tmp_path: Path, stored: np.ndarray
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "masks"
    write_series(scans / "first.1", stored)
    [_, damaged, *_] = write_series(scans / "second", stored)
    damaged.unlink()
    write_series(scans / "patient" / "study" / "series", stored)
    (scans / "no scan").mkdir()
    nibabel.save(nibabel.Nifti1Image(stored, np.eye(4)), scans / "third.nii")
    status, _, errors = predict(make_artifact(), scans, "-o", out)
    assert status == 2
    assert "slices missing between the first and the last: 1" in errors
    assert "1 of 4 scans failed" in errors
    masks = [str(path.relative_to(out)) for path in sorted(out.rglob("*.nii.gz"))]
    assert masks == ["first.1.nii.gz", "patient/study/series.nii.gz", "third.nii.gz"]


def test_another_modality_is_refused_with_3_unless_forced(
    predict, make_artifact: MakeArtifact, tmp_path: Path, stored: np.ndarray
) -> None:
    folder, out, artifact = tmp_path / "series", tmp_path / "mask.nii.gz", make_artifact()
    write_series(folder, stored, Modality="MR")
    status, _, errors = predict(artifact, folder, "-o", out)
    assert (status, out.exists()) == (3, False)
    assert "the modality is MR, the artifact is made for CT" in errors
    assert len(errors.splitlines()) == 1
    assert predict(artifact, folder, "-o", out, "--force")[0] == 0
    assert json.loads((tmp_path / "mask.json").read_text())["forced"]


def test_a_series_is_chosen_by_its_number(
    predict, make_artifact: MakeArtifact, tmp_path: Path, stored: np.ndarray
) -> None:
    folder, out, artifact = tmp_path / "series", tmp_path / "mask.nii.gz", make_artifact()
    write_series(folder, stored, prefix="a")
    write_series(folder, stored[:3], prefix="b", SeriesInstanceUID="1.2.4", SeriesNumber=7)
    status, _, errors = predict(artifact, folder, "-o", out)
    assert (status, len(errors.strip().splitlines())) == (2, 1)
    assert "--series" in errors
    assert predict(artifact, folder, "-o", out, "--series", 7)[0] == 0
    assert nibabel.load(out).shape == (40, 32, 3)


def test_a_series_larger_than_the_memory_has_the_same_mask(
    make_artifact: MakeArtifact, tmp_path: Path, stored: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "series", stored)
    predictor = embedded_vit.load(make_artifact())
    predictor.predict(tmp_path / "series").save(tmp_path / "memory.nii")
    monkeypatch.setattr(Predictor, "_room_bytes", lambda *_: 0)
    prediction = predictor.predict(tmp_path / "series", spool_folder=tmp_path)
    assert type(prediction.mask).__name__ == "SpooledLabelMap"
    prediction.save(tmp_path / "disk.nii")
    assert (tmp_path / "memory.nii").read_bytes() == (tmp_path / "disk.nii").read_bytes()
