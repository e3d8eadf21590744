"""TransUNet's layout: lists, cases, and what is wrong with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import DataSetError, FileFormatError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two training cases of three slices, one of them numbered unevenly, and one test case."""
    (tmp_path / "train_npz").mkdir()
    (tmp_path / "test_vol_h5").mkdir()
    for case, numbers in (("case0001", (2, 10, 9)), ("case0002", (0, 1, 2))):
        for number in numbers:
            label = np.full((8, 8), number % 9)
            np.savez(tmp_path / "train_npz" / f"{case}_slice{number:03d}.npz", image=label / 10, label=label)
    with h5py.File(tmp_path / "test_vol_h5" / "case0003.npy.h5", "w") as file:
        file["image"], file["label"] = np.zeros((3, 8, 8)), np.ones((3, 8, 8))
    return tmp_path


def test_without_lists_all_files_take_part(folder: Path) -> None:
    data_set = open_data_set(folder)
    assert [(case.name, case.patient, case.reserved_for_test) for case in data_set.cases] == [
        ("case0001", "case0001", False),
        ("case0002", "case0002", False),
        ("case0003", "case0003", True),
    ]


def test_slices_are_stacked_by_number(folder: Path) -> None:
    data_set = open_data_set(folder)
    labels = data_set.read_labels(data_set.case("case0001"))
    assert labels.array[:, 0, 0].tolist() == [2, 0, 1]  # slices 2, 9, 10
    np.testing.assert_allclose(data_set.read_volume(data_set.case("case0001")).array[0, :, 0, 0], [0.2, 0, 0.1])


def test_missing_slices_within_a_case_are_remarked(folder: Path) -> None:
    (remark,) = open_data_set(folder).remarks
    assert "case0001: 6 slices are missing between 2 and 10" in remark


@pytest.mark.parametrize("list_folder", ["lists", "lists/lists_Synapse", "lists_Synapse"])
def test_a_list_says_who_takes_part(folder: Path, list_folder: str) -> None:
    (folder / list_folder).mkdir(parents=True)
    (folder / list_folder / "train.txt").write_text("case0002_slice001\n\ncase0002_slice000\r\n")
    data_set = open_data_set(folder)
    assert [case.name for case in data_set.cases] == ["case0002", "case0003"]
    assert data_set.read_labels(data_set.case("case0002")).array[:, 0, 0].tolist() == [0, 1]


def test_a_listed_file_that_is_missing_is_named_when_read(folder: Path) -> None:
    (folder / "lists").mkdir()
    (folder / "lists" / "test_vol.txt").write_text("case0003\ncase0009\n")
    data_set = open_data_set(folder)
    with pytest.raises(FileFormatError, match=r"case0009.npy.h5: there is no such file"):
        data_set.read_volume(data_set.case("case0009"))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..\\outside"])
def test_a_list_cannot_lead_out_of_the_folder(folder: Path, name: str) -> None:
    (folder / "lists").mkdir()
    (folder / "lists" / "test_vol.txt").write_text(name)
    with pytest.raises(DataSetError, match="holds a path"):
        open_data_set(folder)


@pytest.mark.parametrize("ending", [".h5", ".hdf5", ".npy.hdf5", ".H5"])
def test_volumes_of_any_ending_take_part(folder: Path, ending: str) -> None:
    path = folder / "test_vol_h5" / "case0003.npy.h5"
    path.rename(path.with_name(f"case0003{ending}"))
    (folder / "test_vol_h5" / "notes.txt").write_text("x")
    (folder / "test_vol_h5" / "._case0003.h5").write_bytes(b"x")
    data_set = open_data_set(folder)
    assert data_set.case("case0003").reserved_for_test
    assert data_set.read_labels(data_set.case("case0003")).array.all()
    assert [remark for remark in data_set.remarks if "notes.txt: left out" in remark]
    (folder / "lists").mkdir()
    (folder / "lists" / "test_vol.txt").write_text(f"case0003{ending}\r\n", encoding="utf-8-sig")
    (folder / "lists" / "train.txt").write_text("case0002_slice001.npz\n", encoding="utf-8-sig")
    data_set = open_data_set(folder)
    assert [case.name for case in data_set.cases] == ["case0002", "case0003"]
    assert data_set.read_volume(data_set.case("case0003")).shape == (3, 8, 8)


def test_two_files_of_one_test_case_are_refused(folder: Path) -> None:
    path = folder / "test_vol_h5" / "case0003.npy.h5"
    shutil.copy(path, path.with_name("case0003.h5"))
    with pytest.raises(DataSetError, match=r"case0003.h5 and case0003.npy.h5 are one case"):
        open_data_set(folder)


def test_numbers_stand_for_the_same_in_all_cases(folder: Path) -> None:
    data_set = open_data_set(folder)
    assert data_set.read_volume(data_set.case("case0003")).slope == 400  # zeros, as the others are 0 to 1
    path = folder / "test_vol_h5" / "case0003.npy.h5"
    with h5py.File(path, "r+") as file:
        file["image"][...] = np.linspace(-1000, 1000, 192).reshape(3, 8, 8)
    data_set = open_data_set(folder)
    with pytest.raises(FileFormatError, match=r"numbers are HU, those of case case0001 are -125 to 275 HU as 0"):
        data_set.read_volume(data_set.case("case0003"))
    assert data_set.read_volume(data_set.case("case0002")).slope == 400


def test_a_case_that_trains_and_tests_is_refused(folder: Path) -> None:
    shutil.copy(folder / "test_vol_h5" / "case0003.npy.h5", folder / "test_vol_h5" / "case0002.npy.h5")
    with pytest.raises(DataSetError, match="case0002 is in train_npz and in test_vol_h5"):
        open_data_set(folder)


def test_a_label_beyond_the_organs_is_refused_until_it_is_named(folder: Path) -> None:
    label = np.full((8, 8), 9)
    np.savez(folder / "train_npz" / "case0002_slice001.npz", image=label / 10, label=label)
    data_set = open_data_set(folder)
    with pytest.raises(FileFormatError, match=r"case0002: holds label 9; .* end at 8 \(stomach\)"):
        data_set.read_labels(data_set.case("case0002"))
    names = ["background", *(f"structure {number}" for number in range(1, 10))]
    (folder / "dataset.json").write_text(json.dumps({"labels": {name: number for number, name in enumerate(names)}}))
    data_set = open_data_set(folder)
    assert data_set.labels.classes == 10
    assert data_set.read_labels(data_set.case("case0002")).array.max() == 9


def test_a_file_of_another_name_is_left_out_and_remarked(folder: Path) -> None:
    np.savez(folder / "train_npz" / "notes.npz", image=np.zeros((8, 8)), label=np.zeros((8, 8)))
    assert any("notes.npz: left out" in remark for remark in open_data_set(folder).remarks)


def test_empty_folders_are_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "train_npz").mkdir()
    with pytest.raises(DataSetError, match="no slice in train_npz and no volume in test_vol_h5"):
        open_data_set(tmp_path)
