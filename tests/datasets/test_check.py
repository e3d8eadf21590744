"""A check finds everything that is wrong with a data set, and nothing where all is well."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from artifact_fixtures import RunVerb

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.check import DataSetReport, check_data_set
from embedded_vit.datasets.check_table import report_text
from embedded_vit.io.nifti import read_labels, read_volume, write_labels, write_volume
from embedded_vit.volume import LabelMap, Volume

FIRST = "phantom_0001"


@pytest.fixture
def folder(decathlon_folder: Path, tmp_path: Path) -> Path:
    """A copy of the Decathlon phantoms, to be spoilt."""
    shutil.copytree(decathlon_folder, tmp_path / "data")
    return tmp_path / "data"


def check(folder: Path) -> DataSetReport:
    return check_data_set(open_data_set(folder))


def found(report: DataSetReport, severity: str) -> list[str]:
    """Case and message of every problem of that severity; each is one line of the report."""
    lines = [f"{p.case}: {p.message}" for p in report.problems if p.severity == severity]
    assert all("\n" not in line for line in lines)
    assert all(p.message in report_text(report) for p in report.problems)
    return lines


def change_mask(folder: Path, change: object, affine: np.ndarray | None = None) -> None:
    path = folder / "labelsTr" / f"{FIRST}.nii.gz"
    labels = read_labels(path)
    array = change(labels.array) if callable(change) else labels.array
    write_labels(path, LabelMap(array, labels.affine if affine is None else affine), overwrite=True)


def change_image(folder: Path, array: np.ndarray) -> None:
    path = folder / "imagesTr" / f"{FIRST}.nii.gz"
    write_volume(path, Volume(array[None], read_volume(path).affine), overwrite=True)


@pytest.mark.parametrize("fixture", ["synapse_folder", "decathlon_folder", "nnunet_folder"])
def test_sound_data_have_no_problem(fixture: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(fixture)
    report = check(folder)
    assert report.problems == ()
    data_set = open_data_set(folder)
    for case, summary in zip(data_set.cases, report.cases, strict=True):
        array = data_set.read_labels(case).array
        assert summary.label_voxels == tuple(int((array == number).sum()) for number in range(9))
        assert summary.shape == array.shape


def test_the_summary_tells_spacing_and_intensities(decathlon_folder: Path, synapse_folder: Path) -> None:
    volume = read_volume(decathlon_folder / "imagesTr" / f"{FIRST}.nii.gz")
    summary = check(decathlon_folder).cases[0]
    assert summary.spacing_mm == volume.spacing_mm
    assert summary.intensities == (volume.array.min(), volume.array.max())
    transunet = check(synapse_folder).cases
    assert transunet[0].spacing_mm is None
    assert transunet[0].intensities == (-125, 275)
    assert [case.subset for case in transunet] == ["train"] * 4 + ["test"] * 2


def test_a_missing_pair_is_an_error(folder: Path) -> None:
    (folder / "labelsTr" / f"{FIRST}.nii.gz").unlink()
    (error,) = found(check(folder), "error")
    assert error.startswith(f"{FIRST}: ")
    assert "missing: the mask" in error


def test_a_mask_of_another_shape_is_an_error(folder: Path) -> None:
    change_mask(folder, lambda array: array[1:])
    (error,) = found(check(folder), "error")
    assert "image 96 x 96 x 12 and mask 95 x 96 x 12 differ in shape" in error


@pytest.mark.parametrize(("shift_voxels", "errors"), [(0.02, 0), (0.5, 1), (5, 1)])
def test_an_affine_mismatch_is_an_error_beyond_a_tenth_of_a_voxel(
    folder: Path, shift_voxels: float, errors: int
) -> None:
    affine = read_labels(folder / "labelsTr" / f"{FIRST}.nii.gz").affine.copy()
    affine[0, 3] += shift_voxels * abs(affine[0, 0])
    change_mask(folder, None, affine)
    messages = found(check(folder), "error")
    assert len(messages) == errors
    assert all("affines of image and mask differ" in message for message in messages)


def test_a_mirrored_mask_is_an_error(folder: Path) -> None:
    affine = read_labels(folder / "labelsTr" / f"{FIRST}.nii.gz").affine * [[-1], [1], [1], [1]]
    change_mask(folder, None, affine)
    assert "affines" in found(check(folder), "error")[0]


def test_an_unknown_label_is_an_error(folder: Path) -> None:
    change_mask(folder, lambda array: np.where(array == 8, 200, array).astype(np.uint8))
    assert "holds label 200" in found(check(folder), "error")[0]


def test_a_label_that_is_no_integer_is_an_error(folder: Path) -> None:
    path = folder / "labelsTr" / f"{FIRST}.nii.gz"
    labels = read_labels(path)
    write_volume(path, Volume(labels.array[None].astype(np.float32) / 2, labels.affine), overwrite=True)
    assert "0.5 is not an integer" in found(check(folder), "error")[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_intensities_that_are_not_finite_are_an_error(folder: Path, value: float) -> None:
    array = read_volume(folder / "imagesTr" / f"{FIRST}.nii.gz").array[0].astype(np.float32)
    array[0, 0, 0] = value
    change_image(folder, array)
    report = check(folder)
    assert "NaN or infinite" in found(report, "error")[0]
    assert report.cases[0].intensities is None
    assert report.cases[0].label_voxels is not None


def test_a_truncated_file_is_an_error(folder: Path) -> None:
    path = folder / "imagesTr" / f"{FIRST}.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    report = check(folder)
    assert "truncated" in found(report, "error")[0]
    assert "unreadable" in report_text(report)


def test_an_empty_mask_is_a_warning(folder: Path) -> None:
    change_mask(folder, np.zeros_like)
    report = check(folder)
    assert found(report, "error") == []
    assert found(report, "warning") == [f"{FIRST}: the mask is empty: no structure is marked"]


def test_no_labels_at_all_are_an_error(folder: Path) -> None:
    for path in (folder / "labelsTr").iterdir():
        labels = read_labels(path)
        write_labels(path, LabelMap(np.zeros_like(labels.array), labels.affine), overwrite=True)
    assert "None: no labels at all in 4 masks; nothing to learn" in found(check(folder), "error")


def test_a_structure_in_no_mask_is_a_warning(folder: Path) -> None:
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"]["9"] = "duodenum"
    (folder / "dataset.json").write_text(json.dumps(description))
    assert found(check(folder), "warning") == ["None: label 9 (duodenum) is in no mask"]


def test_a_scan_that_is_there_twice_is_a_warning_among_training_cases(folder: Path) -> None:
    shutil.copy(folder / "imagesTr" / "phantom_0003.nii.gz", folder / "imagesTr" / "phantom_0004.nii.gz")
    warnings = [line for line in found(check(folder), "warning") if "same scan" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("phantom_0004: the same scan as phantom_0003")


def test_a_training_scan_among_the_test_cases_is_an_error(synapse_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(synapse_folder, tmp_path / "data")
    data_set = open_data_set(tmp_path / "data")
    case = data_set.case("case0001")
    with h5py.File(tmp_path / "data" / "test_vol_h5" / "case0006.npy.h5", "w") as file:
        file["image"], file["label"] = data_set.read_volume(case).array[0], data_set.read_labels(case).array
    (error,) = found(check(tmp_path / "data"), "error")
    assert error.startswith("case0006: the same scan as case0001, and one of them is for testing")


def test_a_ct_that_is_not_in_hu_is_a_warning(folder: Path) -> None:
    array = read_volume(folder / "imagesTr" / f"{FIRST}.nii.gz").array[0]
    change_image(folder, (array + 1024).astype(np.int16))
    assert "a CT in HU is expected" in found(check(folder), "warning")[0]


def test_structures_that_become_one_value_are_named(folder: Path) -> None:
    """Two bright lesions above the 99.5th percentile are one to the network."""
    description = json.loads((folder / "dataset.json").read_text())
    bright = {"modality": {"0": "T1"}}
    (folder / "dataset.json").write_text(json.dumps(description | bright))
    for case in open_data_set(folder).cases:
        path = folder / "imagesTr" / f"{case.name}.nii.gz"
        mask_path = folder / "labelsTr" / f"{case.name}.nii.gz"
        mask = read_labels(mask_path)
        image = np.random.default_rng(0).uniform(100, 200, mask.shape).astype(np.float32)
        lesions = np.zeros(mask.shape, np.uint8)
        for label, brightness in ((1, 150), (2, 5000), (3, 9000)):
            lesions[10 * label, 10:18, :4], image[10 * label, 10:18, :4] = label, brightness
        write_labels(mask_path, LabelMap(lesions, mask.affine), overwrite=True)
        write_volume(path, Volume(image[None], mask.affine), overwrite=True)
    warnings = [message for message in found(check(folder), "warning") if "one value" in message]
    assert [message.split(": ")[1] for message in warnings] == ["label 2 (gallbladder)", "label 3 (left kidney)"]
    assert all("outside of the 0.5 to 99.5 % of each scan in every channel" in message for message in warnings)


def test_a_constant_image_is_a_warning(folder: Path) -> None:
    change_image(folder, np.full((96, 96, 12), -7, np.int16))
    assert "every voxel is -7" in found(check(folder), "warning")[0]


def test_test_cases_alone_are_an_error(synapse_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(synapse_folder / "test_vol_h5", tmp_path / "test_vol_h5")
    (error,) = found(check(tmp_path), "error")
    assert "leave none for training" in error


def test_the_command_prints_one_line_a_problem_and_ends_with_two(folder: Path, run_verb: RunVerb) -> None:
    change_mask(folder, np.zeros_like)
    status, shown, _ = run_verb("data", folder)
    assert status == 0
    assert f"warning: {FIRST}: the mask is empty" in shown
    (folder / "imagesTr" / "phantom_0002.nii.gz").write_bytes(b"rubbish")
    status, shown, _ = run_verb("data", folder)
    assert status == 2
    lines = shown.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith(("error", "warning"))] == ["error", "warning"]
    assert lines[-1] == "Phantom (Medical Segmentation Decathlon, CT): 4 cases; errors: 1, warnings: 1"


def test_the_command_says_in_one_line_that_a_folder_is_no_data_set(tmp_path: Path, run_verb: RunVerb) -> None:
    status, shown, told = run_verb("data", tmp_path)
    assert status == 2
    assert shown == ""
    assert told.count("\n") == 1
    assert "no data set is recognised" in told


def test_the_real_hippocampus_task_is_checked_in_half_a_minute(shared_folder: Path) -> None:
    started = time.process_time()
    report = check(shared_folder / "data" / "decathlon" / "Task04_Hippocampus")
    assert time.process_time() - started < 30
    assert report.errors == 0
    assert len(report.cases) == 220
    assert all(case.label_voxels is not None and sum(case.label_voxels[1:]) > 500 for case in report.cases)
