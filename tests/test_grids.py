"""One tolerance for grids: a tenth of a voxel; axes in another order or direction are turned."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from embedded_vit.errors import FileFormatError
from embedded_vit.grids import grid_problem, laid_on, voxels_apart
from embedded_vit.volume import LabelMap, Volume

AFFINE = np.array([[-0.7, 0, 0, 90], [0, -0.8, 0, 120], [0, 0, 5, -300], [0, 0, 0, 1]], np.float64)
SHAPE = (5, 4, 3)
ORDERS = ["".join(codes) for axes in itertools.permutations(["LR", "PA", "IS"]) for codes in itertools.product(*axes)]


def scan(affine: np.ndarray = AFFINE) -> Volume:
    return Volume(np.arange(60, dtype=np.int16).reshape(1, *SHAPE), affine, source="scan")


def mask(affine: np.ndarray = AFFINE) -> LabelMap:
    return LabelMap(np.arange(60, dtype=np.uint8).reshape(SHAPE), affine, source="mask")


def moved(*shift_voxels: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += AFFINE[:3, :3] @ shift_voxels
    return affine


@pytest.mark.parametrize("axis", range(3))
def test_a_tenth_of_a_voxel_is_measured_along_each_axis(axis: int) -> None:
    shift = np.eye(3)[axis]
    assert voxels_apart(AFFINE, moved(*shift * 0.3), SHAPE) == pytest.approx(0.3)
    assert grid_problem(scan(), mask(moved(*shift * 0.09))) is None
    problem = grid_problem(scan(), mask(moved(*shift * 0.11)))
    assert problem == "the affines of image and mask differ: 0.11 voxels apart at a corner"


def test_a_rounded_spacing_counts_at_the_far_corner() -> None:
    affine = AFFINE.copy()
    affine[2, 2] += 0.2  # mm between slices: 0.4 mm, 0.08 of a voxel, at the third
    assert grid_problem(scan(), mask(affine)) is None
    assert grid_problem(
        Volume(np.zeros((1, 5, 4, 30), np.int16), AFFINE), LabelMap(np.zeros((5, 4, 30), np.uint8), affine)
    )


@pytest.mark.parametrize("codes", ORDERS)
@pytest.mark.parametrize("turned_by_degrees", [0, 45, 80])
def test_a_mask_in_any_axis_order_is_laid_on_its_scan(codes: str, turned_by_degrees: float) -> None:
    cosine, sine = np.cos(np.radians(turned_by_degrees)), np.sin(np.radians(turned_by_degrees))
    rotation = np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    upright = mask().reoriented(codes)
    shifted = rotation @ upright.affine
    shifted[0, 3] += 0.02
    placed = laid_on(LabelMap(upright.array, shifted), scan(rotation @ AFFINE))
    np.testing.assert_array_equal(placed.array, mask().array)
    np.testing.assert_array_equal(placed.affine, rotation @ AFFINE)


def test_what_lies_elsewhere_is_refused_with_both_names() -> None:
    with pytest.raises(FileFormatError, match=r"^mask: lies on another grid than scan: .*differ: 0\.5 voxels apart"):
        laid_on(mask(moved(0, 0.5, 0)), scan())
    mirrored = AFFINE * [[-1], [1], [1], [1]]
    with pytest.raises(FileFormatError, match="voxels apart"):
        laid_on(mask(mirrored), scan())
    with pytest.raises(FileFormatError, match="image 5 x 4 x 3 and mask 5 x 4 x 2 differ in shape"):
        laid_on(LabelMap(np.zeros((5, 4, 2), np.uint8), AFFINE), scan())


def test_a_channel_in_another_order_is_laid_on_the_first() -> None:
    turned = scan().reoriented("RAS")
    np.testing.assert_array_equal(laid_on(turned, scan()).array, scan().array)
