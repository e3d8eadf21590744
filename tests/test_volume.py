"""Volumes: orientations are views, and voxels stay where they are in the patient."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations, product

import nibabel.orientations as orientations
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from embedded_vit.errors import FileFormatError
from embedded_vit.volume import LabelMap, Volume, border, check_affine

CODES = ["".join(code) for order in permutations(("RL", "AP", "SI")) for code in product(*order)]


def affine(codes: str, spacing_mm=(2.0, 3.0, 4.0)) -> np.ndarray:
    matrix = orientations.inv_ornt_aff(orientations.axcodes2ornt(tuple(codes)), (5, 6, 7))
    return matrix @ np.diag([*spacing_mm, 1.0])


@pytest.mark.parametrize("codes", CODES)
def test_reorienting_keeps_every_voxel_at_its_place_in_the_patient(codes):
    array = np.arange(5 * 6 * 7).reshape(1, 5, 6, 7)
    volume = Volume(array, affine(codes))
    upright = volume.reoriented("SLP")
    assert "".join(orientations.aff2axcodes(upright.affine)) == "SLP"
    for index in [(0, 0, 0), (1, 2, 3), (4, 5, 6)]:
        (place,) = np.argwhere(upright.array[0] == array[0][index])
        np.testing.assert_allclose(upright.affine @ [*place, 1], volume.affine @ [*index, 1], atol=1e-9)


def test_reorienting_is_a_view():
    mask = LabelMap(np.zeros((5, 6, 7), np.uint8), affine("RAS"))
    mask.reoriented().array[0, 0, 0] = 7
    assert mask.array.max() == 7


@pytest.mark.parametrize(
    ("matrix", "named"),
    [
        (np.diag([1.0, 0.0, 1.0, 1.0]), "zero"),
        (np.full((4, 4), np.nan), "finite"),
        (np.array([[1.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]), "singular"),
    ],
)
def test_an_affine_that_puts_voxels_nowhere_is_refused(matrix, named):
    with pytest.raises(FileFormatError, match=named):
        check_affine(matrix, "scan.nii")


def test_the_number_of_axes_is_checked():
    with pytest.raises(FileFormatError, match="4 axes"):
        Volume(np.zeros((5, 6, 7)), np.eye(4))
    with pytest.raises(FileFormatError, match="3 axes"):
        LabelMap(np.zeros((1, 5, 6, 7), np.uint8), np.eye(4))


def test_border_is_the_mask_less_its_erosion():
    mask = np.random.default_rng(0).random((7, 9, 8)) > 0.2
    np.testing.assert_array_equal(border(mask), mask & ~binary_erosion(mask))
    np.testing.assert_array_equal(border(mask[3]), mask[3] & ~binary_erosion(mask[3]))


@pytest.mark.parametrize("codes", CODES)
def test_an_empty_mask_lies_in_memory_as_its_scan(codes):
    upright = Volume(np.zeros((2, 5, 6, 7), np.int16).transpose(0, 3, 1, 2), affine("RAS")).reoriented(codes)
    mask = upright.empty_mask()
    assert mask.shape == upright.shape
    assert not mask.array.any()
    for one, other in permutations(range(3), 2):
        nearer = abs(upright.array.strides[1 + one]) < abs(upright.array.strides[1 + other])
        assert (mask.array.strides[one] < mask.array.strides[other]) == nearer


def test_a_slice_put_over_another_leaves_nothing_of_it():
    mask = LabelMap(np.zeros((2, 6, 7), np.uint8), affine("RAS"))
    large, small, none = np.full((6, 7), 3, np.uint8), np.zeros((6, 7), np.uint8), np.zeros((6, 7), np.uint8)
    small[2:4, 5] = 1, 2
    for labels in (small, large, small, none, large):
        mask.put(1, labels)
        np.testing.assert_array_equal(mask.get(1), labels)
    assert not mask.get(0).any()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_background_takes_no_memory():
    program = (
        "import numpy as np\n"
        "from embedded_vit.predict.memory import resident_bytes\n"
        "from embedded_vit.volume import Volume\n"
        "scan = Volume(np.zeros((1, 512, 512, 200), np.int16, order='F'), np.eye(4))\n"
        "before = resident_bytes()\n"
        "mask = scan.empty_mask().reoriented('SLP')\n"
        "labels = np.zeros((512, 512), np.uint8)\n"
        "labels[:, 100:164] = 1\n"  # an eighth of the columns, which lie one after the other
        "for index in range(200):\n"
        "    mask.put(index, labels)\n"
        "print((resident_bytes() - before) / mask.array.size)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0.1 < float(done.stdout) < 0.25
