from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from embedded_vit.evaluation.metrics import (
    compare_masks,
    hausdorff_95,
    normalised_surface_dice,
    surface_distances,
)
from embedded_vit.volume import spacing_of

ANISOTROPIC_MM = (3.0, 0.7, 0.9)


def cube(shape: tuple[int, int, int], start: tuple[int, int, int], side: int) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(first, first + side) for first in start)] = 1
    return mask


def ball(size: int, radius: float) -> NDArray[np.uint8]:
    axis = np.arange(size) - size // 2
    return (sum(np.meshgrid(axis**2, axis**2, axis**2, indexing="ij")) <= radius**2).astype(np.uint8)


def blobs(seed: int, shape: tuple[int, int, int] = (14, 40, 36)) -> NDArray[np.uint8]:
    """Ragged label maps with eight structures, some of them touching the array's edge."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 9, [length // 2 for length in shape], dtype=np.uint8)
    return coarse.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)


def test_dice_and_jaccard_of_a_cube_moved_by_a_quarter_of_its_side() -> None:
    truth, prediction = cube((20, 20, 20), (4, 4, 4), 8), cube((20, 20, 20), (4, 6, 4), 8)
    (result,) = compare_masks(prediction, truth, labels=1, spacing=(1, 1, 1), tolerance=2)
    assert result.dice == pytest.approx(6 / 8)
    assert result.jaccard == pytest.approx(6 / 10)


def test_hd95_of_a_cube_moved_along_an_axis_is_the_shift_in_mm() -> None:
    truth, prediction = cube((30, 30, 30), (4, 4, 4), 8), cube((30, 30, 30), (4, 4, 10), 8)
    (result,) = compare_masks(prediction, truth, labels=1, spacing=(3.0, 0.7, 0.9), tolerance=2)
    assert result.hausdorff_95 == pytest.approx(6 * 0.9)


def test_concentric_balls_are_as_far_apart_as_their_radii() -> None:
    (result,) = compare_masks(ball(81, 30), ball(81, 20), labels=1, spacing=(0.5, 0.5, 0.5), tolerance=2)
    assert result.hausdorff_95 == pytest.approx(5.0, abs=0.5)
    assert result.dice == pytest.approx(2 * 20**3 / (20**3 + 30**3), rel=0.01)
    assert result.surface_dice == 0.0
    (within,) = compare_masks(ball(81, 30), ball(81, 20), labels=1, spacing=(0.5, 0.5, 0.5), tolerance=6)
    assert within.surface_dice == 1.0


def test_nsd_of_parallel_faces_is_the_share_within_tolerance() -> None:
    # A plate one voxel thick against the same plate with half of it lifted by four voxels.
    truth, prediction = np.zeros((9, 20, 20), bool), np.zeros((9, 20, 20), bool)
    truth[2] = True
    prediction[2, :, :10], prediction[6, :, 10:] = True, True
    distances = surface_distances(prediction, truth, (1, 1, 1))
    # The prediction's lifted half is 4 away; of the truth's uncovered half the two nearest columns are within 2.
    assert normalised_surface_dice(distances, 2.0) == pytest.approx((10 + 12) / 40)


def test_equal_masks_score_perfectly() -> None:
    mask = blobs(3)
    for result in compare_masks(mask, mask, labels=8, spacing=ANISOTROPIC_MM, tolerance=2):
        assert (result.dice, result.jaccard, result.hausdorff_95, result.surface_dice) == (1, 1, 0, 1)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), ANISOTROPIC_MM])
def test_all_values_agree_with_medpy(spacing: tuple[float, float, float]) -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    prediction, truth = blobs(1), blobs(2)
    for label, result in enumerate(compare_masks(prediction, truth, labels=8, spacing=spacing, tolerance=2), start=1):
        pair = prediction == label, truth == label
        assert result.dice == pytest.approx(binary.dc(*pair), abs=1e-9)
        assert result.jaccard == pytest.approx(binary.jc(*pair), abs=1e-9)
        assert result.hausdorff_95 == pytest.approx(binary.hd95(*pair, voxelspacing=spacing), abs=1e-6)


SPACE = (40, 90, 90)
STRAY = cube(SPACE, (2, 4, 4), 6)
STRAY[38, 85, 85] = 1


@pytest.mark.parametrize(
    ("prediction", "truth"),
    [
        pytest.param(cube(SPACE, (2, 5, 4), 24), cube(SPACE, (2, 4, 4), 24), id="near borders"),
        pytest.param(cube(SPACE, (9, 15, 15), 10), cube(SPACE, (2, 4, 4), 30), id="far borders"),
        pytest.param(STRAY, cube(SPACE, (2, 7, 4), 6), id="a stray fragment"),
    ],
)
def test_distances_agree_with_medpy_near_and_far(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    (result,) = compare_masks(prediction, truth, labels=1, spacing=ANISOTROPIC_MM, tolerance=2)
    expected = binary.hd95(prediction, truth, voxelspacing=ANISOTROPIC_MM)
    assert result.hausdorff_95 == pytest.approx(expected, abs=1e-6)


def test_hd95_takes_the_percentile_over_both_masks_together() -> None:
    distances = np.concatenate([np.zeros(90), np.full(10, 8.0)])
    assert hausdorff_95(distances) == 8.0
    assert hausdorff_95(np.concatenate([np.zeros(96), np.full(4, 8.0)])) == 0.0


def test_what_is_empty_has_no_distance() -> None:
    mask, nothing = cube((8, 8, 8), (2, 2, 2), 3), np.zeros((8, 8, 8), np.uint8)
    absent, false_positive = compare_masks(mask * 2, nothing, labels=2, spacing=(1, 1, 1), tolerance=2)
    assert (absent.dice, absent.jaccard, absent.hausdorff_95) == (None, None, None)
    assert (false_positive.dice, false_positive.hausdorff_95, false_positive.prediction_voxels) == (0, None, 27)


def test_masks_on_two_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        compare_masks(
            np.zeros((2, 3, 4), np.uint8), np.zeros((2, 4, 3), np.uint8), labels=1, spacing=(1, 1, 1), tolerance=2
        )


def test_a_volume_of_512_with_eight_organs_takes_seconds_at_most() -> None:
    slices, rows, columns = np.ogrid[:90, :512, :512]
    truth, prediction = np.zeros((90, 512, 512), np.uint8), np.zeros((90, 512, 512), np.uint8)
    for label in range(1, 9):
        row, column, radius = 60 + 55 * label, 100 + 40 * label, 20 + 4 * label
        for mask, shift in ((truth, 0), (prediction, 3)):
            inside = (
                ((slices - 45) / 30) ** 2 + ((rows - row) / radius) ** 2 + ((columns - column - shift) / radius) ** 2
            )
            mask[inside <= 1] = label
    start = time.process_time()
    results = compare_masks(prediction, truth, labels=8, spacing=ANISOTROPIC_MM, tolerance=2)
    seconds = time.process_time() - start
    assert all(result.dice is not None and 0.7 < result.dice < 1 for result in results)
    assert seconds < 5  # half a second on two idle cores; medpy takes a minute


def turned(degrees: float, spacing: float) -> NDArray[np.float64]:
    """An oblique affine in float32, as NIfTI stores it."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    second = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    affine = np.eye(4)
    affine[:3, :3] = spacing * first @ second
    return affine.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("degrees", [0, 2, 3, 5, 7, 11, 13])
@pytest.mark.parametrize(
    ("shift", "spacing"),
    [
        ((2, 0, 0), 1.0),
        ((0, 2, 0), 1.0),
        ((0, 0, 2), 1.0),
        ((3, 0, 0), 0.6667),
        ((1, 1, 0), 2**0.5),
        ((1, 1, 1), 2 / 3**0.5),
    ],
    ids=["axis 0", "axis 1", "axis 2", "a rounded spacing", "a diagonal of a face", "a diagonal of a voxel"],
)
def test_what_is_as_far_as_the_tolerance_is_within_it_on_every_grid(
    degrees: float, shift: tuple[int, int, int], spacing: float
) -> None:
    truth = np.zeros((40, 40, 40), bool)
    truth[8:24, 8:32, 8:32] = True
    affine = turned(degrees, spacing)
    spacing_mm = spacing_of(affine)
    distances = surface_distances(np.roll(truth, shift, (0, 1, 2)), truth, spacing_mm)
    assert normalised_surface_dice(distances, 2.0) == 1.0
    assert normalised_surface_dice(distances, 1.99) < 1.0
    assert distances.max() == pytest.approx(2.0, rel=1e-4)


def ragged(seed: int, moved: tuple[int, ...], shape: tuple[int, ...] = (14, 40, 36)) -> list[NDArray[np.uint8]]:
    """A ragged mask that touches the array's edge, and the same moved and with other holes."""
    full = blobs(seed)
    mask = np.isin(full, (1, 2, 3, 4, 5))
    other = np.roll(mask, moved, axis=(0, 1, 2)) & (np.roll(full, 3, axis=1) != 7)
    return [each[tuple(map(slice, shape))].astype(np.uint8) for each in (mask, other)]


# By surface_distance 0.1 of DeepMind, made to run on today's numpy: np.Inf, ndimage.filters and .morphology renamed.
@pytest.mark.parametrize(
    ("seed", "moved", "spacing", "tolerance", "by_package"),
    [
        (1, (1, 0, 0), ANISOTROPIC_MM, 2.0, 0.9993406739),
        (2, (0, 1, 2), ANISOTROPIC_MM, 1.0, 0.9634393397),
        (3, (1, 1, 1), (1.0, 1.0, 1.0), 1.0, 0.9950073513),
        (4, (0, 3, 0), (2.5, 0.8, 0.8), 0.8, 0.9638587853),
    ],
)
def test_nsd_by_area_is_that_of_surface_distance(seed, moved, spacing, tolerance, by_package) -> None:
    truth, prediction = ragged(seed, moved)
    (result,) = compare_masks(prediction, truth, labels=1, spacing=spacing, tolerance=tolerance)
    assert result.surface_dice_by_area == pytest.approx(by_package, abs=1e-6)


def test_nsd_by_area_of_a_slice_is_that_of_surface_distance() -> None:
    truth, prediction = (mask[:1] for mask in ragged(5, (0, 1, 1)))
    (result,) = compare_masks(prediction, truth, labels=1, spacing=(3.0, 0.7, 1.9), tolerance=1.0)
    assert result.surface_dice_by_area == pytest.approx(0.8312451234, abs=1e-6)


def test_nsd_by_area_of_close_masks_is_measured_by_trees_and_that_of_surface_distance() -> None:
    truth = ball(41, 15)
    prediction = truth.copy()
    prediction[:, :, 30:] = 0
    (result,) = compare_masks(prediction, truth, labels=1, spacing=ANISOTROPIC_MM, tolerance=1.8)
    assert result.dice is not None
    assert result.dice > 0.85
    assert result.surface_dice_by_area == pytest.approx(0.9086687843, abs=1e-6)
