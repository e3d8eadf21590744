"""nnU-Net's layouts as people have them: every spelling of one data set gives the same cases and masks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import DataSetError

Description = dict[str, Any]
CASES = [f"phantom_{number:04d}" for number in range(1, 5)]


@pytest.fixture
def folder(nnunet_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nnunet_folder, tmp_path / "data"))


def describe(folder: Path, **changes: Any) -> None:
    """Change keys of `dataset.json`; None takes a key away."""
    description = json.loads((folder / "dataset.json").read_text()) | changes
    kept = {key: value for key, value in description.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(kept))


def version_1(folder: Path) -> None:
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    names = sorted(path.name for path in (folder / "labelsTr").iterdir())
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    numbered = {str(number): name for name, number in labels.items()}
    describe(
        folder, channel_names=None, file_ending=None, modality={"0": "CT"}, labels=numbered, training=training, test=[]
    )


def explicit(folder: Path) -> None:
    (folder / "imagesTr").rename(folder / "scans")
    (folder / "labelsTr").rename(folder / "masks")
    for path in folder.glob("*Ts/*"):
        path.rename(folder / {"imagesTs": "scans", "labelsTs": "masks"}[path.parent.name] / path.name)
    named = {
        case: {"images": [f"scans/{case}_0000.nii.gz"], "label": f"masks/{case}.nii.gz"} for case in reversed(CASES)
    }
    describe(folder, dataset=named)


def in_capitals(folder: Path) -> None:
    for path in list(folder.glob("*T?/*.nii.gz")):
        path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))


def without_channel_numbers(folder: Path) -> None:
    for path in list(folder.glob("images*/*")):
        path.rename(path.with_name(path.name.replace("_0000", "")))


def with_a_mark(folder: Path) -> None:
    path = folder / "dataset.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")


SPELLINGS: dict[str, Callable[[Path], None]] = {
    "version 1": version_1,
    "modality in place of channel_names": lambda folder: describe(folder, channel_names=None, modality={"0": "CT"}),
    "explicit": explicit,
    "capitals": in_capitals,
    "no channel numbers": without_channel_numbers,
    "byte order mark": with_a_mark,
    "channels in a list": lambda folder: describe(folder, channel_names=["CT"]),
    "ending without dot": lambda folder: describe(folder, file_ending="nii.gz"),
    "no ending": lambda folder: describe(folder, file_ending=None),
    "contrast": lambda folder: describe(folder, channel_names={"0": "CT_venous"}),
    "angiography": lambda folder: describe(folder, channel_names={"0": "CTA"}),
    "in words": lambda folder: describe(folder, channel_names={"0": " computed Tomography"}),
    "stated": lambda folder: describe(folder, channel_names={"0": "venous"}, intensities="CT"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_same_data_set(spelling: str, nnunet_folder: Path, folder: Path) -> None:
    SPELLINGS[spelling](folder)
    data_set, original = open_data_set(folder), open_data_set(nnunet_folder)
    assert [case.name for case in data_set.cases] == CASES
    assert (data_set.modality, data_set.labels, data_set.remarks) == ("CT", original.labels, ())
    for case in data_set.cases:
        for ours, theirs in zip(data_set.read_case(case), original.read_case(case), strict=True):
            np.testing.assert_array_equal(ours.array, theirs.array)


def test_names_that_begin_alike_or_end_like_a_channel(folder: Path) -> None:
    for old, new in zip(CASES[:3], ("a", "a_1", "a_1_0000"), strict=True):
        (folder / f"imagesTr/{old}_0000.nii.gz").rename(folder / f"imagesTr/{new}_0000.nii.gz")
        (folder / f"labelsTr/{old}.nii.gz").rename(folder / f"labelsTr/{new}.nii.gz")
    data_set = open_data_set(folder)
    assert [case.name for case in data_set.cases if not case.reserved_for_test] == ["a", "a_1", "a_1_0000"]
    images = [data_set.files_of(case)[0].name for case in data_set.cases]
    assert images[:3] == ["a_0000.nii.gz", "a_1_0000.nii.gz", "a_1_0000_0000.nii.gz"]


def test_test_scans_without_any_mask_are_left_out_and_said(folder: Path) -> None:
    (folder / "labelsTs" / f"{CASES[3]}.nii.gz").unlink()
    (folder / "labelsTs" / ".DS_Store").write_bytes(b"x")
    data_set = open_data_set(folder)
    assert [case.name for case in data_set.cases] == CASES[:3]
    assert data_set.remarks == (f"{folder / 'imagesTs'}: 1 file left out: no mask is in labelsTs",)


def test_what_is_no_channel_is_left_out_and_said(folder: Path) -> None:
    first = folder / "imagesTr" / f"{CASES[0]}_0000.nii.gz"
    shutil.copy(first, first.with_name(f"{CASES[0]}_0001.nii.gz"))
    shutil.copy(first, first.with_name("notes.nii.gz"))
    left_out = [remark.partition(": left out")[0] for remark in open_data_set(folder).remarks]
    assert left_out == [str(first.with_name("notes.nii.gz")), str(first.with_name(f"{CASES[0]}_0001.nii.gz"))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": []}, "'dataset' must be"),
        ({"dataset": {"a": {"images": []}}}, "'dataset' must be"),
        ({"dataset": {"a": {"images": [], "label": "b.nii.gz"}}}, "names 0 images of case a, expected 1"),
        ({"dataset": {"a": {"images": ["../x.nii.gz"], "label": "b.nii.gz"}}}, "'dataset' names '../x.nii.gz'"),
        ({"file_ending": ".webp"}, "convert the images"),
        ({"file_ending": 3}, "convert the images"),
        ({"intensities": "PET"}, "'intensities' must be"),
        ({"channel_names": {"0": "CT", "1": "PET"}}, 'CT and other images.*"intensities": "MR"'),
    ],
)
def test_what_cannot_be_used_is_one_line(folder: Path, changes: Description, message: str) -> None:
    describe(folder, **changes)
    with pytest.raises(DataSetError, match=message) as refused:
        open_data_set(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["T1", "t1gd", "T2w", "FLAIR", "MRI", "mr", "ADC", "b800", "cine"])
def test_sequences_of_mr_are_known(folder: Path, name: str) -> None:
    describe(folder, channel_names={"0": name})
    data_set = open_data_set(folder)
    assert (data_set.modality, data_set.remarks) == ("MR", ())


@pytest.mark.parametrize("name", ["noNorm", "venous", "CBCT", "PET", "US"])
def test_a_name_that_says_nothing_is_taken_as_mr_and_said(folder: Path, name: str) -> None:
    describe(folder, channel_names={"0": name})
    data_set = open_data_set(folder)
    assert data_set.modality == "MR"
    assert f"channel '{name}' says neither CT nor MR: taken as MR" in data_set.remarks[0]


def test_the_key_dataset_leaves_the_test_cases_in_their_folders(folder: Path) -> None:
    stated = {
        case: {"images": [f"imagesTr/{case}_0000.nii.gz"], "label": f"labelsTr/{case}.nii.gz"} for case in CASES[:3]
    }
    describe(folder, dataset=stated)
    data_set = open_data_set(folder)
    assert [case.name for case in data_set.cases] == CASES
    assert [case.reserved_for_test for case in data_set.cases] == [False] * 3 + [True]
