"""Masks on the grid of their scans: `data`, `train` and `evaluate` read a case in one way, and so agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import nibabel.orientations as orientations
import numpy as np
import pytest

from embedded_vit.datasets import check_data_set, open_data_set
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.errors import FileFormatError
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.slices import prepare_slices

CT = Preprocessing.for_modality("CT", image_size=32)


@pytest.fixture
def folder(nnunet_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nnunet_folder, tmp_path / "data"))


def rewrite(path: Path, *, shift_mm: float = 0.0, slices_mm: float = 0.0, codes: str = "") -> None:
    """Write a file's voxels again at a place a little off, or with their axes to `codes` at the same place."""
    image = nibabel.load(path)
    if codes:
        turn = orientations.ornt_transform(
            orientations.io_orientation(image.affine), orientations.axcodes2ornt(tuple(codes))
        )
        image = image.as_reoriented(turn)
    affine = image.affine.copy()
    affine[0, 3] += shift_mm
    affine[2, 2] += slices_mm
    nibabel.Nifti1Image(np.asarray(image.dataobj), affine).to_filename(path)


def masks(folder: Path) -> list[Path]:
    return sorted(folder.glob("labels*/*.nii.gz"))


def fingerprint(data_set: DataSet, folder: Path) -> str:
    return prepare_slices(data_set, [case.name for case in data_set.cases], CT, folder).fingerprint


@pytest.mark.parametrize(
    "change", [{"shift_mm": 0.02}, {"shift_mm": 0.2}, {"slices_mm": 0.01}, {"codes": "RAS"}, {"codes": "ASR"}], ids=str
)
def test_a_mask_at_the_place_of_its_scan_is_taken_as_if_it_had_its_grid(
    change: dict[str, float | str], nnunet_folder: Path, folder: Path, tmp_path: Path
) -> None:
    for path in masks(folder):
        rewrite(path, **change)
    data_set, original = open_data_set(folder), open_data_set(nnunet_folder)
    assert check_data_set(data_set).errors == 0
    assert fingerprint(data_set, tmp_path / "a") == fingerprint(original, tmp_path / "b")
    for case in data_set.cases:
        volume, mask = data_set.read_case(case)
        np.testing.assert_array_equal(mask.array, original.read_labels(case).array)
        np.testing.assert_array_equal(mask.affine, volume.affine)


@pytest.mark.parametrize("change", [{"shift_mm": 2.0}, {"slices_mm": 0.5}], ids=str)
def test_a_mask_elsewhere_is_refused_by_all(change: dict[str, float], folder: Path, tmp_path: Path) -> None:
    rewrite(masks(folder)[0], **change)
    data_set = open_data_set(folder)
    report = check_data_set(data_set)
    (problem,) = [problem for problem in report.problems if problem.severity == "error"]
    assert problem.case == data_set.cases[0].name
    for read in (data_set.read_case, lambda case: prepare_slices(data_set, [case.name], CT, tmp_path / "cache")):
        with pytest.raises(FileFormatError) as refused:
            read(data_set.cases[0])
        assert str(refused.value) == problem.message
        assert "resample it to the scan" in problem.message


@pytest.mark.parametrize("change", [{"shift_mm": 0.05}, {"codes": "RAS"}], ids=str)
def test_a_second_channel_likewise(change: dict[str, float | str], folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("images*/*_0000.nii.gz"):
        shutil.copyfile(path, path.with_name(path.name.replace("_0000", "_0001")))
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(description | {"channel_names": {"0": "T1", "1": "T2"}}))
    before = open_data_set(folder)
    expected = [before.read_volume(case).array for case in before.cases]
    for path in folder.glob("images*/*_0001.nii.gz"):
        rewrite(path, **change)
    data_set = open_data_set(folder)
    assert check_data_set(data_set).errors == 0
    for case, array in zip(data_set.cases, expected, strict=True):
        np.testing.assert_array_equal(data_set.read_volume(case).array, array)
