"""Every layout with something wrong in it: one line that says where, and what the folder was taken for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedded_vit.datasets import check_data_set, open_data_set
from embedded_vit.errors import DataSetError, EmbeddedVitError
from embedded_vit.io.nifti import write_labels, write_volume
from embedded_vit.volume import LabelMap, Volume

SCAN = Volume(np.random.default_rng(0).normal(0, 300, (1, 6, 5, 4)).astype(np.int16), np.diag([-1.0, -1, 2, 1]))
MASK = LabelMap((np.arange(120) % 2).astype(np.uint8).reshape(6, 5, 4), SCAN.affine)
LABELS = {"background": 0, "one": 1}


def describe(folder: Path, **description: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(description))


def nnunet_of_nothing(folder: Path) -> None:
    describe(folder, channel_names={"0": "CT"}, labels=LABELS)


def nnunet_with_a_picture_for_a_mask(folder: Path) -> None:
    describe(folder, channel_names={"0": "CT"}, labels=LABELS, file_ending=".nii.gz")
    write_volume(folder / "imagesTr" / "a_0000.nii.gz", SCAN)
    (folder / "labelsTr").mkdir()
    Image.fromarray(MASK.array[..., 0]).save(folder / "labelsTr" / "a.png")


def decathlon_without_files(folder: Path) -> None:
    describe(folder, modality={"0": "CT"}, labels={"0": "background", "1": "one"},
             training=[{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}])  # fmt: skip


def plain_folders_of_nothing(folder: Path) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)


def plain_folders_of_text_called_png(folder: Path) -> None:
    plain_folders_of_nothing(folder)
    for name in ("images", "masks"):
        (folder / name / "a.png").write_text("no picture")


def plain_folders_with_a_mask_of_another_size(folder: Path) -> None:
    plain_folders_of_nothing(folder)
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(folder / "images" / "a.png")
    Image.fromarray(np.ones((9, 8), np.uint8)).save(folder / "masks" / "a.png")


def totalsegmentator_without_structures(folder: Path) -> None:
    write_volume(folder / "s0001" / "ct.nii.gz", SCAN)
    (folder / "s0001" / "segmentations").mkdir()


def totalsegmentator_with_a_mask_elsewhere(folder: Path) -> None:
    write_volume(folder / "s0001" / "ct.nii.gz", SCAN)
    for name, affine in (("liver", SCAN.affine), ("spleen", np.eye(4))):
        write_labels(folder / "s0001" / "segmentations" / f"{name}.nii.gz", LabelMap(MASK.array, affine))


def brats_without_masks(folder: Path) -> None:
    for name in ("t1", "t1ce", "t2", "flair"):
        write_volume(folder / "p" / f"p_{name}.nii.gz", SCAN)


def brats_of_labels_that_are_none(folder: Path) -> None:
    brats_without_masks(folder)
    write_labels(folder / "p" / "p_seg.nii.gz", LabelMap(MASK.array * np.uint8(7), SCAN.affine))


def dicom_of_labels_alone(folder: Path) -> None:
    (folder / "p").mkdir(parents=True)
    magic = bytes(128) + b"DICM" + b"1.2.840.10008.5.1.4.1.1.481.3\0"
    (folder / "p" / "rt.dcm").write_bytes(magic)


def transunet_of_nothing(folder: Path) -> None:
    (folder / "train_npz").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nnunet_of_nothing, r"no case in imagesTr.*taken for nnU-Net raw"),
        (nnunet_with_a_picture_for_a_mask, r"a\.png: lies on another grid|differ in shape"),
        (decathlon_without_files, r"a\.nii\.gz: missing: the image"),
        (plain_folders_of_nothing, "0 images in images and 0 masks.*taken for plain folders"),
        (plain_folders_of_text_called_png, r"a\.png: not a PNG, JPEG, TIFF, BMP, GIF or PPM.*taken for plain folders"),
        (plain_folders_with_a_mask_of_another_size, "differ in shape"),
        (totalsegmentator_without_structures, "0 structures in segmentations.*taken for TotalSegmentator"),
        (totalsegmentator_with_a_mask_elsewhere, r"spleen\.nii\.gz: lies on another grid"),
        (brats_without_masks, r"no patient has the channels.*taken for BraTS"),
        (brats_of_labels_that_are_none, "holds label 7"),
        (dicom_of_labels_alone, "damaged, or not a SEG or RTSTRUCT.*taken for DICOM"),
        (transunet_of_nothing, "no slice in train_npz.*taken for TransUNet"),
    ],
)
def test_an_odd_layout_is_one_line(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "data")
    found: list[str] = []
    try:
        data_set = open_data_set(tmp_path / "data")
    except DataSetError as error:
        found.append(str(error))
    else:
        report = check_data_set(data_set)
        assert report.errors
        found += [problem.message for problem in report.problems if problem.severity == "error"]
        with pytest.raises(EmbeddedVitError):
            data_set.read_case(data_set.cases[0])
    assert any(re.search(message, text) for text in found), found
    assert not any("\n" in text for text in found)
