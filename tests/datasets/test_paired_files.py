"""Popular public data sets as they lie on the disk, generated: which image belongs to which mask is told by names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedded_vit.datasets import check_data_set, open_data_set
from embedded_vit.io.nifti import write_labels, write_volume
from embedded_vit.volume import LabelMap, Volume

SCAN = Volume(np.random.default_rng(0).normal(0, 300, (1, 6, 5, 4)).astype(np.int16), np.diag([-1.0, -1, 2, 1]))
MASK = LabelMap((np.arange(120) % 2).astype(np.uint8).reshape(6, 5, 4), SCAN.affine)
COLOURS = np.random.default_rng(1).integers(0, 256, (16, 24, 3)).astype(np.uint8)


def write(folder: Path, names: list[str], *, masks: bool) -> None:
    for place, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith((".nii.gz", ".nii")):
            image = Volume(SCAN.array + np.int16(place), SCAN.affine)
            write_labels(path, MASK) if masks else write_volume(path, image)
        elif masks:
            inside = np.zeros((16, 24), np.uint8)
            inside[4:9, 2 + place : 9 + place] = 255
            Image.fromarray(inside).save(path)
        else:
            Image.fromarray(np.roll(COLOURS, place, axis=1)).save(path)


# name: images, masks, cases, structures, channels
LAYOUTS: dict[str, tuple[list[str], list[str], list[str], list[str], int]] = {
    "KiTS": (
        [f"case_0000{n}/imaging.nii.gz" for n in range(3)], [f"case_0000{n}/segmentation.nii.gz" for n in range(3)],
        [f"case_0000{n}" for n in range(3)], ["structure"], 1,
    ),
    "LiTS": (
        ["Batch 1/volume-0.nii", "Batch 2/volume-1.nii"], ["Batch 1/segmentation-0.nii", "Batch 2/segmentation-1.nii"],
        ["0", "1"], ["structure"], 1,
    ),
    "FLARE": (
        ["images/FLARE22_Tr_0001_0000.nii.gz", "images/FLARE22_Tr_0002_0000.nii.gz"],
        ["labels/FLARE22_Tr_0001.nii.gz", "labels/FLARE22_Tr_0002.nii.gz"],
        ["FLARE22_0001", "FLARE22_0002"], ["structure"], 1,
    ),
    "ACDC": (
        ["patient001/patient001_4d.nii.gz", "patient001/patient001_frame01.nii.gz",
         "patient001/patient001_frame12.nii.gz", "patient002/patient002_frame01.nii.gz"],
        ["patient001/patient001_frame01_gt.nii.gz", "patient001/patient001_frame12_gt.nii.gz",
         "patient002/patient002_frame01_gt.nii.gz"],
        ["patient001_frame01", "patient001_frame12", "patient002_frame01"], ["structure"], 1,
    ),
    "SegTHOR": (
        ["Patient_01/Patient_01.nii.gz", "Patient_02/Patient_02.nii.gz"],
        ["Patient_01/GT.nii.gz", "Patient_02/GT.nii.gz"], ["Patient_01", "Patient_02"], ["structure"], 1,
    ),
    "ISLES": (
        [f"rawdata/sub-s{n}/ses-1/{kind}/sub-s{n}_ses-1_{kind}.nii.gz" for n in (1, 2) for kind in ("adc", "dwi")],
        [f"derivatives/sub-s{n}/ses-1/sub-s{n}_ses-1_msk.nii.gz" for n in (1, 2)],
        ["sub_s1_ses_1", "sub_s2_ses_1"], ["structure"], 2,
    ),
    "ATLAS": (
        [f"sub-r{n}/anat/sub-r{n}_ses-1_space-MNI_T1w.nii.gz" for n in (1, 2)],
        [f"sub-r{n}/anat/sub-r{n}_ses-1_space-MNI_label-L_desc-T1lesion_mask.nii.gz" for n in (1, 2)],
        ["sub_r1_ses_1_space_MNI", "sub_r2_ses_1_space_MNI"], ["structure"], 1,
    ),
    "ISIC": (
        ["ISIC-2017_Training_Data/ISIC_0000000.jpg", "ISIC-2017_Training_Data/ISIC_0000001.jpg",
         "ISIC-2017_Training_Data/ISIC_0000000_superpixels.png"],
        ["ISIC-2017_Training_Part1_GroundTruth/ISIC_0000000_segmentation.png",
         "ISIC-2017_Training_Part1_GroundTruth/ISIC_0000001_segmentation.png"],
        ["ISIC_0000000", "ISIC_0000001"], ["structure"], 3,
    ),
    "CVC-ClinicDB": (
        ["Original/1.tif", "Original/2.tif"], ["Ground Truth/1.tif", "Ground Truth/2.tif"], ["1", "2"],
        ["structure"], 3,
    ),
    "DRIVE": (
        ["training/images/21_training.tif", "training/images/22_training.tif", "test/images/01_test.tif"],
        ["training/1st_manual/21_manual1.gif", "training/1st_manual/22_manual1.gif",
         "training/mask/21_training_mask.gif", "training/mask/22_training_mask.gif", "test/mask/01_test_mask.gif"],
        ["21", "22"], ["structure"], 3,
    ),
    "STARE": (
        ["stare-images/im0001.ppm", "stare-images/im0002.ppm"],
        ["labels-ah/im0001.ah.ppm", "labels-ah/im0002.ah.ppm", "labels-vk/im0001.vk.ppm", "labels-vk/im0002.vk.ppm"],
        ["im0001", "im0002"], ["structure"], 3,
    ),
    "CHASE_DB1": (
        ["Image_01L.jpg", "Image_01R.jpg"],
        [f"Image_{eye}_{reader}HO.png" for eye in ("01L", "01R") for reader in ("1st", "2nd")], ["01L", "01R"],
        ["structure"], 3,
    ),
    "BUSI": (
        ["Dataset_BUSI_with_GT/benign/benign (1).png", "Dataset_BUSI_with_GT/malignant/malignant (1).png"],
        ["Dataset_BUSI_with_GT/benign/benign (1)_mask.png", "Dataset_BUSI_with_GT/benign/benign (1)_mask_1.png",
         "Dataset_BUSI_with_GT/malignant/malignant (1)_mask.png"],
        ["benign_1", "malignant_1"], ["structure"], 3,
    ),
    "Montgomery": (
        ["CXR_png/MCUCXR_0001_0.png", "CXR_png/MCUCXR_0002_0.png"],
        [f"ManualMask/{side}Mask/MCUCXR_000{n}_0.png" for side in ("left", "right") for n in (1, 2)],
        ["MCUCXR_0001_0", "MCUCXR_0002_0"], ["left", "right"], 3,
    ),
    "Kvasir-SEG": (["images/a.jpg", "images/b.jpg"], ["masks/a.jpg", "masks/b.jpg"], ["a", "b"], ["structure"], 3),
    "names of their own": (
        ["images/img_1.png", "images/img_2.png"], ["masks/mask_1.png", "masks/mask_2.png"], ["1", "2"],
        ["structure"], 3,
    ),
    "one folder per case": (
        ["images/Größe 1.png", "images/Größe 2.png"],
        [f"masks/Größe {n}/{name}.png" for n in (1, 2) for name in ("cup", "disc")],
        ["Größe_1", "Größe_2"], ["cup", "disc"], 3,
    ),
    "split already": (
        ["train/images/1.png", "val/images/2.png"], ["train/masks/1.png", "val/masks/2.png"], ["1", "2"],
        ["structure"], 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_popular_layouts_are_understood(tmp_path: Path, layout: str) -> None:
    images, masks, cases, structures, channels = LAYOUTS[layout]
    write(tmp_path, images, masks=False)
    write(tmp_path, masks, masks=True)
    data_set = open_data_set(tmp_path)
    assert [case.name for case in data_set.cases] == cases
    assert data_set.labels.names == tuple(structures)
    assert len(data_set.channels) == channels
    for case in data_set.cases:
        volume, labels = data_set.read_case(case)
        assert volume.shape == labels.shape
        assert set(np.unique(labels.array)) <= set(range(len(structures) + 1))
        assert labels.array.any()
    assert check_data_set(data_set).errors == 0


def test_several_masks_of_one_image_are_one_structure(tmp_path: Path) -> None:
    images, masks, *_ = LAYOUTS["BUSI"]
    write(tmp_path, images, masks=False)
    write(tmp_path, masks, masks=True)
    data_set = open_data_set(tmp_path)
    inside = data_set.read_labels(data_set.case("benign_1")).array[0] == 1
    np.testing.assert_array_equal(np.flatnonzero(inside[4]), np.arange(2, 10))  # columns 2 to 8 and 3 to 9
    assert not inside[:4].any()
    assert not inside[9:].any()


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    images, masks, *_ = LAYOUTS["DRIVE"]
    write(tmp_path, images, masks=False)
    write(tmp_path, masks, masks=True)
    remarks = " ".join(open_data_set(tmp_path).remarks)
    assert "masks called '1st manual manual1' are taken; left out: mask mask" in remarks


def test_a_mask_is_not_given_to_the_image_of_another_number(tmp_path: Path) -> None:
    write(tmp_path, ["imgs/img_1.png", "imgs/img_2.png", "imgs/a-1.png", "imgs/a_1.png"], masks=False)
    write(tmp_path, ["masks/mask_1.png", "masks/mask_2.png", "masks/mask_1_2.png", "masks/a_1_mask.png"], masks=True)
    data_set = open_data_set(tmp_path)
    assert [case.name for case in data_set.cases] == ["1", "2"]
    assert data_set.read_labels(data_set.case("1")).array[0, 5].nonzero()[0].tolist() == list(range(2, 9))
    remarks = " ".join(data_set.remarks)
    assert "a-1.png: left out: another image is called alike" in remarks
    assert "a_1_mask.png and 1 more: left out: no image of that name" in remarks
