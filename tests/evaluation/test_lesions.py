"""Lesions by themselves, as BraTS scores them since 2023: worked by hand, and against the organisers' program."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from embedded_vit.evaluation.lesions import LesionScore, lesion_score
from embedded_vit.evaluation.metrics import hausdorff_95_by_area

ONE_MM = (1.0, 1.0, 1.0)
Box = tuple[int, int, int, int]  # first voxel along each axis, and the side of a cube


def cubes(*boxes: Box) -> NDArray[np.bool_]:
    mask = np.zeros((40, 40, 40), bool)
    for z, y, x, side in boxes:
        mask[z : z + side, y : y + side, x : x + side] = True
    return mask


FOUND, MISSED, SMALL, FALSE = (2, 2, 2, 6), (2, 30, 30, 5), (30, 2, 2, 3), (34, 34, 4, 2)


def test_missed_lesions_and_false_positives_count_zero_and_374_mm() -> None:
    score = lesion_score(cubes(FOUND, FALSE), cubes(FOUND, MISSED, SMALL), ONE_MM)
    # Three count: the one that is found, the one that is missed, the false positive. 27 mm3 are too small.
    assert score == LesionScore(pytest.approx(1 / 3), pytest.approx(2 * 374 / 3), 2, 1, 1)


def test_small_lesions_neither_count_nor_make_false_positives() -> None:
    assert lesion_score(cubes(FOUND, SMALL), cubes(FOUND, SMALL), ONE_MM) == LesionScore(1.0, 0.0, 1, 0, 0)
    assert lesion_score(cubes(), cubes(SMALL), ONE_MM) == LesionScore(1.0, 0.0, 0, 0, 0)
    # 27 voxels of 2 mm3 are 54 mm3.
    assert lesion_score(cubes(), cubes(SMALL), (2.0, 1.0, 1.0)).missed == 1


def test_what_is_empty_in_both_scores_one_and_in_one_alone_zero() -> None:
    assert lesion_score(cubes(), cubes(), ONE_MM) == LesionScore(1.0, 0.0, 0, 0, 0)
    assert lesion_score(cubes(FALSE), cubes(), ONE_MM) == LesionScore(0.0, 374.0, 0, 0, 1)
    assert lesion_score(cubes(), cubes(FOUND), ONE_MM) == LesionScore(0.0, 374.0, 1, 1, 0)


@pytest.mark.parametrize(("gap", "lesions"), [(5, 1), (6, 1), (7, 2)])
def test_pieces_that_meet_when_each_grows_by_three_voxels_are_one_lesion(gap: int, lesions: int) -> None:
    first, second = (10, 10, 10, 4), (10, 10, 14 + gap, 4)
    score = lesion_score(cubes(first), cubes(first, second), ONE_MM)
    assert score.lesions == lesions
    if lesions == 1:  # 64 of 128 voxels are found; the other cube ends gap + 4 voxels behind them
        assert score.dice == pytest.approx(2 * 64 / (64 + 128))
        assert score.hd95 == pytest.approx(gap + 4)
    else:
        assert (score.dice, score.hd95) == (0.5, 187.0)


def test_a_piece_beside_a_lesion_is_its_prediction_though_they_do_not_overlap() -> None:
    beside = lesion_score(cubes((10, 10, 17, 5)), cubes((10, 10, 10, 5)), ONE_MM)
    assert (beside.dice, beside.missed, beside.false_positives) == (0.0, 0, 0)
    assert beside.hd95 == pytest.approx(7)
    away = lesion_score(cubes((10, 10, 18, 5)), cubes((10, 10, 10, 5)), ONE_MM)
    assert (away.missed, away.false_positives) == (1, 1)


def blobs(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Ragged lesions that touch the edge, and a prediction with other holes and further pieces."""
    random = np.random.default_rng(seed)

    def above(share: float) -> NDArray[np.bool_]:
        smooth = gaussian_filter(random.standard_normal((40, 44, 48)), 2.2)
        return smooth > np.quantile(smooth, 1 - share)

    truth = above(0.03)
    return (np.roll(truth, (1, 0, 2), axis=(0, 1, 2)) & above(0.6)) | above(0.004), truth


# By `brats_metrics.py` of BraTS-2023-Metrics with `surface_distance` 0.1 and the connected components of SciPy.
@pytest.mark.parametrize(
    ("seed", "spacing", "dice", "hd95", "lesions", "false_positives"),
    [
        (2, (3.0, 0.8, 0.8), 0.114732, 210.787916, 8, 10),
        (4, (1.21, 1.875, 1.875), 0.067775, 233.464791, 5, 8),
        (6, ONE_MM, 0.065279, 294.282689, 5, 18),
    ],
)
def test_scores_are_those_of_the_organisers(seed, spacing, dice, hd95, lesions, false_positives) -> None:
    score = lesion_score(*blobs(seed), spacing)
    assert (score.dice, score.hd95) == (pytest.approx(dice, abs=1e-6), pytest.approx(hd95, abs=1e-6))
    assert (score.lesions, score.false_positives) == (lesions, false_positives)


def test_hd95_by_area_is_the_longer_of_both_ways() -> None:
    # The corners of one voxel are 9 or 10 mm from the nearest of the other, as many each.
    assert hausdorff_95_by_area(cubes((5, 5, 5, 1)), cubes((5, 5, 15, 1)), ONE_MM) == 10
    # All of the small cube is in the large one; the large one's far face, more than 5 % of it, is 4 mm away.
    assert hausdorff_95_by_area(cubes((5, 5, 5, 4)), cubes((5, 5, 5, 8)), ONE_MM) > 4
    assert hausdorff_95_by_area(cubes(FOUND), cubes(FOUND), ONE_MM) == 0
