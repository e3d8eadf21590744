"""Data sets of NIfTI files: the Decathlon's and nnU-Net's descriptions, channels, labels and missing files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.io.nifti import write_labels, write_volume
from embedded_vit.volume import LabelMap, Volume

AFFINE = np.diag([-0.7, -0.8, 3, 1])
BRATS = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
IMAGE = np.random.default_rng(0).integers(0, 900, (4, 6, 5, 3)).astype(np.int16)
MASK = (np.arange(90) % 3).astype(np.uint8).reshape(6, 5, 3)


def decathlon(folder: Path, **changes: Any) -> Path:
    """Two cases of four channels as a task of the Decathlon, its description changed."""
    names = ("BRATS_001", "BRATS_002")
    for name in names:
        write_volume(folder / "imagesTr" / f"{name}.nii.gz", Volume(IMAGE, AFFINE), overwrite=True)
        write_labels(folder / "labelsTr" / f"{name}.nii.gz", LabelMap(MASK, AFFINE), overwrite=True)
    description = {
        "name": "BRATS",
        "modality": BRATS,
        "labels": {"0": "background", "1": "edema", "2": "tumour"},
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names],
    }
    (folder / "dataset.json").write_text(json.dumps(description | changes))
    return folder


def nnunet(folder: Path, **changes: Any) -> Path:
    """One case of two channels as nnU-Net v2 raw, its description changed."""
    for channel in range(2):
        write_volume(folder / "imagesTr" / f"A_B_{channel:04d}.nii.gz", Volume(IMAGE[channel : channel + 1], AFFINE))
    write_labels(folder / "labelsTr" / "A_B.nii.gz", LabelMap(MASK, AFFINE))
    description = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "edema": 1, "tumour": 2},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description | changes))
    return folder


def test_channels_on_the_last_axis_come_first(tmp_path: Path) -> None:
    data_set = open_data_set(decathlon(tmp_path))
    assert (data_set.modality, data_set.channels) == ("MR", tuple(BRATS.values()))
    assert data_set.labels.names == ("edema", "tumour")
    np.testing.assert_array_equal(data_set.read_volume(data_set.cases[0]).array, IMAGE)
    np.testing.assert_array_equal(data_set.read_labels(data_set.cases[0]).array, MASK)


def test_a_file_with_fewer_channels_is_refused(tmp_path: Path) -> None:
    data_set = open_data_set(decathlon(tmp_path))
    write_volume(tmp_path / "imagesTr" / "BRATS_001.nii.gz", Volume(IMAGE[:3], AFFINE), overwrite=True)
    with pytest.raises(FileFormatError, match=r"3 channels .* where 4 are expected"):
        data_set.read_volume(data_set.cases[0])


def test_a_file_a_channel_is_joined(tmp_path: Path) -> None:
    data_set = open_data_set(nnunet(tmp_path))
    assert [case.name for case in data_set.cases] == ["A_B"]
    volume = data_set.read_volume(data_set.cases[0])
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, IMAGE[:2])


def test_channels_of_different_scale_are_joined_in_real_intensities(tmp_path: Path) -> None:
    data_set = open_data_set(nnunet(tmp_path))
    path = tmp_path / "imagesTr" / "A_B_0001.nii.gz"
    write_volume(path, Volume(IMAGE[1:2], AFFINE, slope=2, intercept=-5), overwrite=True)
    volume = data_set.read_volume(data_set.cases[0])
    np.testing.assert_array_equal(volume.intensities(4), np.stack([IMAGE[0, 4], IMAGE[1, 4] * 2 - 5]))


def test_channels_on_different_grids_are_refused(tmp_path: Path) -> None:
    data_set = open_data_set(nnunet(tmp_path))
    write_volume(tmp_path / "imagesTr" / "A_B_0001.nii.gz", Volume(IMAGE[:1], np.eye(4)), overwrite=True)
    with pytest.raises(FileFormatError, match=r"A_B_0001.nii.gz: lies on another grid"):
        data_set.read_volume(data_set.cases[0])


def test_test_images_with_masks_only_ever_test(tmp_path: Path) -> None:
    nnunet(tmp_path)
    for channel in range(2):
        write_volume(tmp_path / "imagesTs" / f"C_{channel:04d}.nii.gz", Volume(IMAGE[:1], AFFINE))
    assert len(open_data_set(tmp_path).cases) == 1  # without masks they say nothing
    write_labels(tmp_path / "labelsTs" / "C.nii.gz", LabelMap(MASK, AFFINE))
    cases = open_data_set(tmp_path).cases
    assert [(case.name, case.reserved_for_test) for case in cases] == [("A_B", False), ("C", True)]


@pytest.mark.parametrize(("missing", "what"), [("imagesTr/A_B_0001", "image"), ("labelsTr/A_B", "mask")])
def test_half_a_case_is_noticed(tmp_path: Path, missing: str, what: str) -> None:
    nnunet(tmp_path)
    (tmp_path / f"{missing}.nii.gz").unlink()
    data_set = open_data_set(tmp_path)
    read = data_set.read_volume if what == "image" else data_set.read_labels
    with pytest.raises(FileFormatError, match=f"{missing}.nii.gz: missing: the {what} of case A_B"):
        read(data_set.case("A_B"))


def test_unlisted_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    decathlon(tmp_path)
    for name in ("._BRATS_001.nii.gz", "BRATS_009.nii.gz"):
        (tmp_path / "imagesTr" / name).write_bytes(b"")
    data_set = open_data_set(tmp_path)
    assert len(data_set.cases) == 2
    (remark,) = data_set.remarks
    assert "BRATS_009.nii.gz: left out" in remark


def test_mirroring_is_allowed_only_by_the_description(tmp_path: Path) -> None:
    assert not open_data_set(decathlon(tmp_path)).labels.mirror
    assert open_data_set(decathlon(tmp_path, mirror=True)).labels.mirror


def test_a_label_that_is_not_described_is_refused(tmp_path: Path) -> None:
    data_set = open_data_set(decathlon(tmp_path, labels={"0": "background", "1": "edema"}))
    with pytest.raises(FileFormatError, match=r"BRATS_001.nii.gz: holds label 2; .* end at 1 \(edema\)"):
        data_set.read_labels(data_set.cases[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"0": "background", "1": "a", "2": "b", "4": "c"}}, "without gaps or repeats, got 0, 1, 2, 4"),
        ({"labels": {"1": "a"}}, "without gaps or repeats, got 1"),
        ({"labels": {"0": "background"}}, "0 structures besides background"),
        ({"labels": ["a"]}, "must be a mapping"),
        ({"labels": {"zero": "background", "1": "a"}}, "not an integer"),
        ({"modality": {"1": "CT"}}, "'modality' must name the channels"),
        ({"training": []}, "'training' must list the cases"),
        ({"training": ["a.nii.gz"]}, "'training' must list the cases"),
        ({"training": [{"image": "../a.nii.gz", "label": "b.nii.gz"}]}, "inside the data set's folder"),
        ({"training": [{"image": "/a.nii.gz", "label": "b.nii.gz"}]}, "inside the data set's folder"),
        ({"training": [{"image": "a.nii", "label": "b.nii"}] * 2}, "listed twice"),
        ({"mirror": "yes"}, "'mirror' must be true or false"),
    ],
)
def test_a_decathlon_description_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataSetError, match=message) as caught:
        open_data_set(decathlon(tmp_path, **changes))
    assert str(tmp_path / "dataset.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "whole": [1, 2], "core": 4}}, "without gaps or repeats"),
        ({"labels": {"background": 0, "whole": [0, 1]}}, "must list numbers of structures, 1 or above"),
        ({"labels": {"background": 0, "a": 1, "ignore": 1}}, "'ignore' is 1; a number above the structures'"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "without gaps or repeats"),
        ({"file_ending": ".mgz"}, "'file_ending' is '.mgz'"),
        ({"file_ending": 7}, "'file_ending' is 7"),
        ({"channel_names": {}}, "'channel_names' must name the channels"),
    ],
)
def test_an_nnunet_description_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataSetError, match=message) as caught:
        open_data_set(nnunet(tmp_path, **changes))
    assert "\n" not in str(caught.value)
