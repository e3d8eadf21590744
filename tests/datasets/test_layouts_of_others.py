"""The layouts of TotalSegmentator and BraTS: trees as they are handed out, and what is said of odd ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.errors import DataSetError
from embedded_vit.io.nifti import write_labels, write_volume
from embedded_vit.volume import LabelMap, Volume

AFFINE = np.diag([-1.5, -1.5, 1.5, 1])
SHAPE = (9, 8, 7)
CT = np.random.default_rng(0).normal(0, 200, (1, *SHAPE)).astype(np.int16)


def part(*box: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[box] = 1
    return mask


LIVER, SPLEEN = part(slice(1, 4)), part(slice(5, 7), slice(2, 6))


def totalsegmentator(folder: Path, image: str = "ct") -> Path:
    for case in ("s0001", "s0002", "s0003"):
        write_volume(folder / case / f"{image}.nii.gz", Volume(CT, AFFINE))
        for name, mask in (("liver", LIVER), ("spleen", SPLEEN), ("lung_upper_lobe_left", part(slice(8, 9)))):
            write_labels(folder / case / "segmentations" / f"{name}.nii.gz", LabelMap(mask, AFFINE))
    return folder


def test_totalsegmentator_opens_with_all_its_structures(tmp_path: Path) -> None:
    totalsegmentator(tmp_path)
    (tmp_path / "meta.csv").write_text("image_id;age;split\ns0001;60;train\ns0003;61;test\n")
    data_set = open_data_set(tmp_path)
    assert (data_set.layout, data_set.modality) == ("TotalSegmentator", "CT")
    assert data_set.labels.names == ("liver", "lung upper lobe left", "spleen")
    assert [case.reserved_for_test for case in data_set.cases] == [False, False, True]
    _, labels = data_set.read_case(data_set.cases[0])
    np.testing.assert_array_equal(labels.array, LIVER + 2 * part(slice(8, 9)) + 3 * SPLEEN)


def test_some_structures_are_chosen_by_name(tmp_path: Path) -> None:
    data_set = open_data_set(totalsegmentator(tmp_path), structures=["spleen", "Lung_upper_lobe_left"])
    assert data_set.labels.names == ("spleen", "lung upper lobe left")
    case = data_set.cases[0]
    np.testing.assert_array_equal(data_set.read_labels(case).array, SPLEEN + 2 * part(slice(8, 9)))
    assert not [path for path in data_set.files_of(case) if path.name == "liver.nii.gz"]
    with pytest.raises(DataSetError, match=r"names 'spleeen' .did you mean 'spleen'"):
        open_data_set(tmp_path, structures=["spleeen"])
    with pytest.raises(DataSetError, match="names a structure twice"):
        open_data_set(tmp_path, structures=["spleen", "Spleen"])


def test_structures_of_any_layout_are_chosen(nnunet_folder: Path) -> None:
    whole, chosen = open_data_set(nnunet_folder), open_data_set(nnunet_folder, structures=["liver", "aorta"])
    number = {name: place for place, name in enumerate(whole.labels.names, start=1)}
    case = whole.cases[0].name
    truth, few = (each.read_labels(each.case(case)).array for each in (whole, chosen))
    np.testing.assert_array_equal(few == 1, truth == number["liver"])
    np.testing.assert_array_equal(few == 2, truth == number["aorta"])
    assert few.max() == 2


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_structure_without_file_was_not_marked(tmp_path: Path, how: str) -> None:
    totalsegmentator(tmp_path)
    path = tmp_path / "s0002" / "segmentations" / "liver.nii.gz"
    path.unlink()
    if how == "empty":
        path.write_bytes(b"")
    data_set = open_data_set(tmp_path)
    assert [case.unlabelled for case in data_set.cases] == [(), (1,), ()]
    np.testing.assert_array_equal(data_set.read_labels(data_set.cases[1]).array, 2 * part(slice(8, 9)) + 3 * SPLEEN)
    assert open_data_set(tmp_path, structures=["spleen", "liver"]).cases[1].unlabelled == (2,)
    assert open_data_set(tmp_path, structures=["spleen"]).cases[1].unlabelled == ()


def test_folders_without_image_are_named_and_mixed_modalities_refused(tmp_path: Path) -> None:
    totalsegmentator(tmp_path)
    (tmp_path / "s0002" / "ct.nii.gz").unlink()
    data_set = open_data_set(tmp_path)
    assert [case.name for case in data_set.cases] == ["s0001", "s0003"]
    assert any("s0002: left out: no image called ct or mri" in remark for remark in data_set.remarks)
    (tmp_path / "s0003" / "ct.nii.gz").rename(tmp_path / "s0003" / "mri.nii.gz")
    with pytest.raises(DataSetError, match=r"holds CT and MR.*was taken for TotalSegmentator"):
        open_data_set(tmp_path)


def brats(folder: Path, joint: str, names: tuple[str, ...], cases: tuple[str, ...], enhancing: int) -> Path:
    for case in cases:
        for number, name in enumerate(names):
            scan = Volume(np.full((1, *SHAPE), 10 * number + 1, np.int16), AFFINE)
            write_volume(folder / case / f"{case}{joint}{name}.nii.gz", scan)
        mask = LIVER + 2 * SPLEEN + enhancing * part(slice(8, 9))
        write_labels(folder / case / f"{case}{joint}seg.nii.gz", LabelMap(mask.astype(np.uint8), AFFINE))
    return folder


@pytest.mark.parametrize(
    ("joint", "names", "cases", "enhancing"),
    [
        ("_", ("t1", "t1ce", "t2", "flair"), ("BraTS2021_00000", "BraTS2021_00002"), 4),
        ("-", ("t1n", "t1c", "t2w", "t2f"), ("BraTS-GLI-00000-000", "BraTS-GLI-00000-001"), 3),
    ],
)
def test_brats_folders_open(
    tmp_path: Path, joint: str, names: tuple[str, ...], cases: tuple[str, ...], enhancing: int
) -> None:
    data_set = open_data_set(brats(tmp_path, joint, names, cases, enhancing))
    assert (data_set.layout, data_set.modality) == ("BraTS", "MR")
    assert data_set.channels == ("T1", "T1ce", "T2", "FLAIR")
    assert [case.name for case in data_set.cases] == list(cases)
    assert len({case.patient for case in data_set.cases}) == (2 if joint == "_" else 1)
    volume, labels = data_set.read_case(data_set.cases[0])
    assert volume.array[:, 0, 0, 0].tolist() == [1, 11, 21, 31]
    np.testing.assert_array_equal(labels.array, LIVER + 2 * SPLEEN + 3 * part(slice(8, 9)))
    assert {region.name: region.members for region in data_set.labels.regions} == {
        "whole tumour": (1, 2, 3),
        "tumour core": (1, 3),
    }


def test_brats_folders_may_lie_deeper_and_lack_a_mask(tmp_path: Path) -> None:
    names = ("t1", "t1ce", "t2", "flair")
    brats(tmp_path / "HGG", "_", names, ("Brats18_2013_0_1", "Brats18_2013_1_1"), 4)
    (tmp_path / "HGG" / "Brats18_2013_1_1" / "Brats18_2013_1_1_seg.nii.gz").unlink()
    data_set = open_data_set(tmp_path)
    assert [case.name for case in data_set.cases] == ["Brats18_2013_0_1"]
    assert any("left out: no seg" in remark for remark in data_set.remarks)
