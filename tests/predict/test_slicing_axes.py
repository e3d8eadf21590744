"""Slices may be cut along each axis of the body, whatever the orientation of the file; left stays left."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from embedded_vit.contract import Contract
from embedded_vit.errors import FileFormatError
from embedded_vit.io import open_scan
from embedded_vit.labels import LabelSet
from embedded_vit.mask_figures import FigureCollector
from embedded_vit.predict.segmentation import segment
from embedded_vit.preprocessing import Grid, Preprocessing
from embedded_vit.slicing import AXES, PLANES, array_axis
from embedded_vit.volume import Volume

LEFT, RIGHT = 100, 250  # HU of two boxes
every_plane = pytest.mark.parametrize("orientation", list(PLANES))


class ByBrightness:
    """Stands in for a network: class 1 for the darker of two boxes, 2 for the brighter one."""

    streams = 1

    def run(self, image_bchw: np.ndarray) -> np.ndarray:
        hounsfield = (image_bchw[:, image_bchw.shape[1] // 2] + 1) * 200 - 125
        return -np.abs(np.stack([hounsfield - value for value in (0, LEFT, RIGHT)], axis=1))


def contract_of(orientation: str, **settings: object) -> Contract:
    preprocessing = Preprocessing.for_modality("CT", orientation=orientation, image_size=96, **settings)
    return Contract(preprocessing=preprocessing, labels=LabelSet.from_names(["left box", "right box"]))


def scan(codes: str = "RAS") -> Volume:
    """A CT of 40 x 32 x 24 voxels with a box on the left in front, and a larger one on the right behind, higher up."""
    hounsfield = np.zeros((40, 32, 24), np.int16)  # RAS
    hounsfield[:, :2] = -1000
    hounsfield[6:14, 18:28, 4:12] = LEFT  # low x: left
    hounsfield[24:36, 4:14, 12:20] = RIGHT
    affine = np.array([[1.5, 0, 0, -30], [0, 1, 0, 20], [0, 0, 2, -80], [0, 0, 0, 1]], float)
    return Volume(hounsfield[None], affine).reoriented(codes)


@every_plane
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLP"])
def test_left_and_right_stay_apart_in_every_plane(orientation: str, codes: str) -> None:
    volume = scan(codes)
    mask = segment(volume, contract_of(orientation, context_slices=3), ByBrightness())
    truth = np.select([volume.array[0] == LEFT, volume.array[0] == RIGHT], [1, 2])
    for number in (1, 2):
        found, true = mask.array == number, truth == number
        assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.8
        assert not (found & (truth == 3 - number)).any()
    upright = mask.reoriented("RAS")
    lefts, rights = (np.argwhere(upright.array == number)[:, 0].mean() for number in (1, 2))
    assert lefts < rights


@every_plane
def test_a_scan_on_the_disk_is_segmented_as_one_in_memory(orientation: str, tmp_path: Path) -> None:
    volume = scan("LPS")
    nibabel.save(nibabel.Nifti1Image(volume.array[0], volume.affine), tmp_path / "scan.nii.gz")
    contract = contract_of(orientation, context_slices=3)
    masks = []
    for spooled in (False, True):
        source = open_scan(tmp_path / "scan.nii.gz")
        opened = source.spool(tmp_path, orientation=orientation) if spooled else source.read()
        assert contract.violations(opened) == []
        assert contract.doubts(opened) == []
        masks.append(segment(opened, contract, ByBrightness()).array)
    assert masks[0].any()
    np.testing.assert_array_equal(*masks)


def test_a_scan_on_the_disk_is_read_along_the_axis_that_it_was_cut_for(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(scan().array[0], scan().affine), tmp_path / "scan.nii.gz")
    spooled = open_scan(tmp_path / "scan.nii.gz").spool(tmp_path, orientation="LPI")
    with pytest.raises(FileFormatError, match="in slices along another axis"):
        spooled.reoriented("SLP").stored(0)


@every_plane
def test_figures_of_masks_do_not_depend_on_the_plane(orientation: str) -> None:
    preprocessing = contract_of(orientation).preprocessing
    upright = scan().reoriented(orientation)
    collector = FigureCollector(Grid.of(upright, preprocessing), preprocessing, 3)
    mask = segment(upright, contract_of(orientation), ByBrightness(), collector=collector)
    figures = collector.figures(mask, mask.counts(), mask.at_border())
    assert figures.height_mm == pytest.approx(48)
    apart = np.subtract(figures.structures[1].centre, figures.structures[2].centre)
    # In shares of the axis of the slices, and of the square around them for the other two.
    side_mm = {"SLP": [48, 60, 60], "PLI": [60, 60, 32], "LPI": [48, 60, 48]}[orientation]
    np.testing.assert_allclose(apart, np.array([-16, 20 * 1.5, -14]) / side_mm, atol=0.03)
    in_slices = {axis for axis in AXES if array_axis(orientation, axis)[0] > 0}
    assert set(figures.structures[1].place) == in_slices


@pytest.mark.parametrize(
    ("codes", "axis", "expected"),
    [
        ("SLP", "left", (1, True)),
        ("PLI", "superior", (2, False)),
        ("LPI", "left", (0, True)),
        ("RAS", "posterior", (1, False)),
    ],
)
def test_an_axis_of_the_body_is_found_in_a_code(codes: str, axis: str, expected: tuple[int, bool]) -> None:
    assert array_axis(codes, axis) == expected
