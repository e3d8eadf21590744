"""Plain folders of images and masks, and nnU-Net with pictures: what is understood, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embedded_vit.datasets import check_data_set, open_data_set
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.io.nifti import write_labels, write_volume
from embedded_vit.volume import LabelMap, Volume

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
INSIDE = np.zeros((20, 30), np.uint8)
INSIDE[5:15, 8:20] = 1


def pictures(folder: Path, masks: str = "masks", *, factor: int = 255, ending: str = "", cases: int = 3) -> Path:
    for name in ("images", masks):
        (folder / name).mkdir(parents=True)
    for number in range(cases):
        Image.fromarray(np.roll(PIXELS, number, axis=0)).save(folder / "images" / f"p{number}.png")
        Image.fromarray(INSIDE * np.uint8(factor)).save(folder / masks / f"p{number}{ending}.png")
    return folder


@pytest.mark.parametrize("masks", ["masks", "labels"])
@pytest.mark.parametrize("factor", [1, 255, 7])
@pytest.mark.parametrize("ending", ["", "_mask", "_segmentation"])
def test_masks_of_two_values_are_one_structure(tmp_path: Path, masks: str, factor: int, ending: str) -> None:
    data_set = open_data_set(pictures(tmp_path, masks, factor=factor, ending=ending))
    assert (data_set.layout, data_set.modality) == (f"images and {masks}", "picture")
    assert data_set.channels == ("R", "G", "B")
    assert data_set.labels.names == ("structure",)
    volume, labels = data_set.read_case(data_set.case("p1"))
    assert volume.shape == labels.shape == (1, 20, 30)
    np.testing.assert_array_equal(np.moveaxis(volume.array[:, 0], 0, -1), np.roll(PIXELS, 1, axis=0))
    np.testing.assert_array_equal(labels.array[0], INSIDE)
    assert any("255 is taken as structure" in remark for remark in data_set.remarks) == (factor == 255)
    assert check_data_set(data_set).errors == 0


def test_a_description_names_channels_and_labels(tmp_path: Path) -> None:
    pictures(tmp_path)
    description = {"channel_names": {"0": "red", "1": "green", "2": "blue"}, "labels": {"background": 0, "lesion": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    data_set = open_data_set(tmp_path)
    assert (data_set.channels, data_set.labels.names) == (("red", "green", "blue"), ("lesion",))
    assert data_set.remarks == (f"{tmp_path / 'masks'}: masks of 0 and 255: 255 is taken as lesion",)
    np.testing.assert_array_equal(data_set.read_labels(data_set.cases[0]).array[0], INSIDE)


def test_files_without_partner_are_named(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "masks" / "p0.png").rename(tmp_path / "masks" / "other.png")
    data_set = open_data_set(tmp_path)
    assert [case.name for case in data_set.cases] == ["p1", "p2"]
    assert any("p0.png: left out: no mask" in remark for remark in data_set.remarks)
    assert any("other.png: left out: no image" in remark for remark in data_set.remarks)


def test_volumes_in_plain_folders_are_ct_if_their_numbers_are_hu(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1, 2, 1])
    random = np.random.default_rng(0)
    array = random.normal(40, 15, (1, 40, 40, 6)).round()
    array[:, :8] = -1000  # air
    array[:, 8:14] = random.normal(-100, 10, (1, 6, 40, 6)).round()  # fat
    mask = np.zeros((40, 40, 6), np.uint8)
    mask[20:30, 10:30], mask[32:36] = 1, 2
    write_volume(tmp_path / "images" / "a.nii.gz", Volume(array.astype(np.int16), affine))
    write_labels(tmp_path / "labels" / "a.nii.gz", LabelMap(mask, affine))
    data_set = open_data_set(tmp_path)
    assert (data_set.modality, data_set.labels.names) == ("CT", ("label 1", "label 2"))
    assert any("taken as CT" in remark for remark in data_set.remarks)
    shifted = Volume((array + 1024).astype(np.int16), affine)
    write_volume(tmp_path / "images" / "a.nii.gz", shifted, overwrite=True)
    assert open_data_set(tmp_path).modality == "MR"


def without_suffix(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        path.rename(path.with_suffix(""))


def of_another_kind(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        path.rename(path.with_suffix(".webp"))


def no_partner(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        path.rename(path.with_name(f"of_{path.name}"))


def photographs_as_masks(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        Image.fromarray(PIXELS[..., 0]).save(path)


def nothing_marked(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        Image.fromarray(INSIDE * np.uint8(0)).save(path)


def soft_edges(folder: Path) -> None:
    soft = INSIDE * np.uint8(255)
    soft[5], soft[6] = 128, 250
    for path in (folder / "masks").iterdir():
        Image.fromarray(soft).save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_another_kind, r"images: 3 files of .webp, which are not read; convert them to PNG or NIfTI"),
        (without_suffix, "images: 3 files without a suffix, which are not read"),
        (no_partner, "3 images in images and 3 masks in masks, none of one name"),
        (photographs_as_masks, "as images do and masks do not"),
        (nothing_marked, "no structure is marked in 3 masks"),
        (soft_edges, "3 numbers up to 255, as masks with soft edges do"),
    ],
)
def test_a_wrong_guess_says_what_the_folder_was_taken_for(tmp_path: Path, change: Any, message: str) -> None:
    change(pictures(tmp_path))
    with pytest.raises(DataSetError, match=message) as caught:
        open_data_set(tmp_path)
    assert "was taken for plain folders (images/ and masks/ or labels/)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_with_gaps_are_counted(tmp_path: Path) -> None:
    pictures(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        Image.fromarray(INSIDE * np.uint8(63) + np.roll(INSIDE, 14, axis=1) * np.uint8(126)).save(path)
    data_set = open_data_set(tmp_path)
    assert data_set.labels.names == ("label 63", "label 126")
    labels = data_set.read_labels(data_set.cases[0]).array[0]
    np.testing.assert_array_equal(labels, INSIDE + 2 * np.roll(INSIDE, 14, axis=1))


def test_soft_edges_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "lesion": 1}}))
    soft = INSIDE * np.uint8(255)
    soft[5] = 128
    Image.fromarray(soft).save(tmp_path / "masks" / "p0.png")
    data_set = open_data_set(tmp_path)
    with pytest.raises(FileFormatError, match="soft edges"):
        data_set.read_labels(data_set.case("p0"))


@pytest.mark.parametrize("together", [True, False])
def test_nnunet_with_pictures(tmp_path: Path, together: bool) -> None:
    for name in ("imagesTr", "labelsTr"):
        (tmp_path / name).mkdir()
    for case in ("a", "b"):
        channels = {"0000": PIXELS} if together else {f"{number:04d}": PIXELS[..., number] for number in range(3)}
        for number, pixels in channels.items():
            Image.fromarray(pixels).save(tmp_path / "imagesTr" / f"{case}_{number}.png")
        Image.fromarray(INSIDE).save(tmp_path / "labelsTr" / f"{case}.png")
    description = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "vessel": 1},
        "file_ending": ".png",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    data_set = open_data_set(tmp_path)
    assert [case.name for case in data_set.cases] == ["a", "b"]
    assert (data_set.layout, data_set.modality, data_set.remarks) == ("nnU-Net v2 raw", "picture", ())
    volume, labels = data_set.read_case(data_set.case("a"))
    np.testing.assert_array_equal(np.moveaxis(volume.array[:, 0], 0, -1), PIXELS)
    np.testing.assert_array_equal(labels.array[0], INSIDE)


def test_the_real_fundus_pictures_open(shared_folder: Path) -> None:
    data_set = open_data_set(shared_folder / "data" / "drive")
    assert (len(data_set.cases), data_set.modality, data_set.labels.names) == (20, "picture", ("vessel",))
    volume, labels = data_set.read_case(data_set.cases[0])
    assert volume.shape == labels.shape == (1, 584, 565)
    assert 0.05 < (labels.array == 1).mean() < 0.15
