"""Preprocessing: the numbers that a network sees, and the way back to the scan's own grid."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch.nn import functional

from embedded_vit.errors import ConfigError
from embedded_vit.preprocessing import Grid, Intensities, Preprocessing, network_inputs
from embedded_vit.volume import Volume

CT = Preprocessing.for_modality("CT", image_size=16)


def volume(array: np.ndarray, spacing_mm=(1.0, 1.0, 1.0), **fields) -> Volume:
    """A volume in training orientation from (channels, slices, rows, columns)."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = spacing_mm[0], -spacing_mm[1], -spacing_mm[2], 1
    return Volume(array, affine, **fields)


def test_ct_window_goes_to_minus_one_and_one():
    hounsfield = np.array([-1000, -125, 75, 275, 3000], np.int16)
    array = np.broadcast_to(hounsfield[None, :, None, None], (1, 5, 16, 16)).copy()
    images = list(network_inputs(volume(array), CT))
    assert [round(float(image.mean()), 6) for image in images] == [-1, -1, 0, 1, 1]


def test_slope_and_intercept_of_the_file_are_applied():
    array = np.full((1, 1, 16, 16), 0.5, np.float32)
    (image,) = network_inputs(volume(array, slope=400, intercept=-125), CT)
    assert image == pytest.approx(np.zeros((1, 16, 16)), abs=1e-6)


def test_mr_ranges_are_each_volumes_and_channels_own():
    rng = np.random.default_rng(0)
    array = rng.uniform(1, 100, (2, 4, 32, 32)).astype(np.float32)
    array[1] *= 10_000
    preprocessing = Preprocessing.for_modality("MR", image_size=32, channels=("T1", "T2"))
    images = np.stack(list(network_inputs(volume(array), preprocessing)))
    assert images.shape == (4, 2, 32, 32)
    assert images[:, 0].mean() == pytest.approx(images[:, 1].mean(), abs=0.1)
    assert images.min() >= -1
    assert images.max() <= 1


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint8, np.float32])
def test_percentiles_between_far_numbers_do_not_overflow(dtype):
    """NumPy takes the difference of two neighbours in the stored type: 100 - -100 was -56 in int8."""
    far = 32_000 if dtype == np.int16 else 100
    low = 10 if dtype == np.uint8 else -far
    array = np.array([low, far], dtype).repeat(128).reshape(1, 1, 16, 16)
    preprocessing = Preprocessing(modality="MR", percentiles=(50, 50.1), image_size=16)
    found = Intensities.of(volume(array), preprocessing)
    place = 0.5 * 255 - 127
    assert found.low.item() == pytest.approx(low + (far - low) * place, rel=1e-6)


def test_a_constant_mr_volume_gives_finite_numbers():
    (image,) = network_inputs(
        volume(np.zeros((1, 1, 16, 16), np.int16)), Preprocessing.for_modality("MR", image_size=16)
    )
    assert np.isfinite(image).all()


def test_context_repeats_the_first_and_last_slice():
    array = np.broadcast_to(np.array([-125, -25, 75, 175, 275])[None, :, None, None], (1, 5, 16, 16)).astype(np.int16)
    images = list(network_inputs(volume(array), CT.model_copy(update={"context_slices": 3})))
    values = [[round(float(value), 3) for value in image[:, 0, 0]] for image in images]
    assert values == [[-1, -1, -0.5], [-1, -0.5, 0], [-0.5, 0, 0.5], [0, 0.5, 1], [0.5, 1, 1]]


@pytest.mark.parametrize(
    ("slices_mm", "spacing_known", "step"), [(1, True, 3), (1.5, True, 2), (3, True, 1), (7, True, 1), (1, False, 1)]
)
def test_thin_slices_see_neighbours_at_the_distance_of_the_training(slices_mm, spacing_known, step):
    windowed = np.linspace(-125, 275, 9, dtype=np.float32)
    array = np.broadcast_to(windowed[None, :, None, None], (1, 9, 16, 16))
    apart = CT.model_copy(update={"context_slices": 3, "context_mm": 3.0})
    images = network_inputs(volume(array, (slices_mm, 1, 1), spacing_known=spacing_known), apart)
    seen = np.stack([image[:, 0, 0] for image in images])
    indices = np.arange(9)[:, None] + np.array([-step, 0, step])
    np.testing.assert_allclose(seen, np.linspace(-1, 1, 9)[indices.clip(0, 8)], atol=1e-6)


@pytest.mark.parametrize("size", [64, 128])
def test_cubic_equals_scipys_zoom(size):
    image = np.random.default_rng(0).random((200, 200), np.float32)
    reduced = Grid.between((200, 200), size, interpolation="cubic").reduce(image)
    np.testing.assert_allclose(reduced, scipy.ndimage.zoom(image, size / 200, order=3), atol=2e-6)


@pytest.mark.parametrize(("source", "target"), [(512, 64), (100, 64), (50, 128)])
def test_antialias_equals_torchs(source, target):
    image = np.random.default_rng(0).random((source, source), np.float32)
    expected = functional.interpolate(
        torch.from_numpy(image)[None, None], (target, target), mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(Grid.between((source, source), target).reduce(image), expected[0, 0], atol=2e-5)


def test_enlarging_equals_torchs_bilinear():
    logits = np.random.default_rng(0).standard_normal((3, 16, 16)).astype(np.float32)
    expected = functional.interpolate(torch.from_numpy(logits)[None], (50, 50), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(Grid.between((50, 50), 16).enlarge(logits), expected[0], atol=2e-5)


def test_a_slice_that_is_not_square_lies_in_the_middle_of_a_square_of_air():
    grid = Grid.between((32, 64), 16)
    reduced = grid.reduce(np.ones((32, 64), np.float32))
    assert reduced[:3].max() == reduced[-3:].max() == 0
    assert reduced[5:11] == pytest.approx(np.ones((6, 16)), abs=1e-6)
    assert grid.enlarge(np.ones((1, 16, 16), np.float32)).shape == (1, 32, 64)


def test_pixels_that_are_not_square_are_seen_in_millimetres():
    tall = Grid.between((32, 64), 16, spacing_mm=(2.0, 1.0)).reduce(np.ones((32, 64), np.float32))
    assert tall == pytest.approx(np.ones((16, 16)), abs=1e-6)


def test_labels_go_to_the_class_that_covers_most_of_a_pixel():
    mask = np.zeros((32, 32), np.uint8)
    mask[:17], mask[17:] = 3, 5
    reduced = Grid.between((32, 32), 8).reduce_labels(mask, classes=9)
    assert reduced[:4].tolist() == [[3] * 8] * 4
    assert reduced[4:].tolist() == [[5] * 8] * 4


def test_labels_come_back_where_they_were():
    mask = np.zeros((96, 80), np.uint8)
    mask[20:60, 30:55], mask[70:90, 10:30] = 1, 2
    grid = Grid.between((96, 80), 48)
    one_hot = (grid.reduce_labels(mask, 3)[None] == np.arange(3)[:, None, None]).astype(np.float32)
    assert (grid.enlarge(one_hot).argmax(axis=0) == mask).mean() > 0.985


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"window_hu": (275, -125)}, "must rise"),
        ({"window_hu": None}, "window_hu"),
        ({"deviations": 3, "percentiles": (0, 1)}, "one of them"),
        ({"ranges": ((0, 1), (1, 1)), "channels": ("a", "b")}, "must rise, got 1.0 to 1.0"),
        ({"ranges": ((0, 1),), "channels": ("a", "b")}, "1 ranges for 2 channels"),
        ({"window_hu": (0, 1), "orientation": "LAS"}, "orientation"),
        ({"window_hu": (0, 1), "percentiles": (0, 1)}, "one of them"),
        ({"window_hu": (0, 1), "context_slices": 2}, "context_slices"),
        ({"window_hu": (0, 1), "image_sise": 64}, "did you mean 'image_size'"),
    ],
)
def test_contracts_that_make_no_sense_are_refused_by_name(settings, named):
    with pytest.raises(ConfigError, match=named):
        Preprocessing.parse({"image_size": 64, **settings}, source="test")


def test_intensities_of_a_large_volume_are_sampled_alike():
    array = np.random.default_rng(0).normal(500, 100, (1, 40, 256, 256)).astype(np.float32)
    preprocessing = Preprocessing.for_modality("MR", image_size=16)
    sampled = Intensities.of(volume(array), preprocessing)
    low, high = np.percentile(array, (0.5, 99.5))
    assert float(sampled.low[0, 0, 0]) == pytest.approx(low, abs=2)
    assert float(sampled.high[0, 0, 0]) == pytest.approx(high, abs=2)


@pytest.mark.parametrize("slope", [1.0, -2.0])
def test_z_scores_reach_as_far_as_said(slope):
    array = np.random.default_rng(0).normal(100, 10, (1, 4, 32, 32)).astype(np.float32)
    array[:, :, :16] = 0  # the empty border does not count
    found = Intensities.of(
        volume(array, slope=slope, intercept=7), Preprocessing.for_modality("MR", image_size=16, deviations=3)
    )
    values = array[array != 0] * slope + 7
    assert float(found.low[0, 0, 0]) == pytest.approx(values.mean() - 3 * values.std(), rel=1e-5)
    assert float(found.high[0, 0, 0]) == pytest.approx(values.mean() + 3 * values.std(), rel=1e-5)


def test_ranges_are_each_channels_own_and_the_same_in_every_scan():
    preprocessing = Preprocessing.for_modality("MR", image_size=16, channels=("a", "b"), ranges=((0, 10), (-1, 1)))
    array = np.broadcast_to(np.array([5, 0.5], np.float32)[:, None, None, None], (2, 1, 16, 16))
    (image,) = network_inputs(volume(array), preprocessing)
    np.testing.assert_allclose(image.mean(axis=(1, 2)), [0, 0.5], atol=1e-6)


def test_a_range_that_is_given_takes_the_place_of_the_default():
    lungs = Preprocessing.for_modality("CT", image_size=16, window_hu=(-1000, 400))
    assert lungs.window_hu == (-1000, 400)
