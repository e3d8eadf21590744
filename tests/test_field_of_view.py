"""The part of the slices that a network looks at."""

from __future__ import annotations

import numpy as np
import pytest

from embedded_vit.errors import ConfigError
from embedded_vit.field_of_view import seen_part
from embedded_vit.predict.labelling import label_slice
from embedded_vit.preprocessing import Grid, Preprocessing
from embedded_vit.volume import UPRIGHT_AFFINE, Volume

WHOLE = (slice(0, 40), slice(0, 50))


def ct(*, slope: float = 1.0, intercept: float = 0.0) -> Volume:
    """A body of 20 x 24 pixels with a table of one row below it, in air."""
    hounsfield = np.full((1, 6, 40, 50), -1000.0, np.float32)
    hounsfield[:, :, 8:28, 10:34] = 40
    hounsfield[:, 2, 35, 20] = 300  # a single voxel: a wire
    return Volume((hounsfield - np.float32(intercept)) / np.float32(slope), UPRIGHT_AFFINE, slope, intercept)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (1.0, -1024.0), (-2.0, 5.0)])
def test_the_body_is_what_is_denser_than_air(slope: float, intercept: float) -> None:
    volume = ct(slope=slope, intercept=intercept)
    assert seen_part(volume, "body") == (slice(8, 28), slice(10, 34))
    assert seen_part(volume, "slice") == WHOLE


def test_what_is_not_zero_in_any_channel_counts() -> None:
    array = np.zeros((2, 3, 40, 50), np.int16)
    array[0, 1, 5, 7], array[1, 2, 30, 40] = 1, -1
    assert seen_part(Volume(array, UPRIGHT_AFFINE), "nonzero") == (slice(5, 31), slice(7, 41))


@pytest.mark.parametrize("kind", ["nonzero", "body"])
def test_where_nothing_is_found_all_is_seen(kind: str) -> None:
    assert (
        seen_part(Volume(np.zeros((1, 2, 40, 50), np.int16) - 2000 * (kind == "body"), UPRIGHT_AFFINE), kind) == WHOLE
    )


def test_the_square_lies_around_the_part_and_the_mask_on_the_whole_slice() -> None:
    volume = ct()
    grid = Grid.of(volume, Preprocessing.for_modality("CT", image_size=24, field_of_view="body"))
    # 24 pixels around rows 8 to 28: from 6 to 30.
    assert grid.seen == (slice(6, 30), slice(10, 34))
    assert not grid.sees_all
    reduced = grid.reduce(volume.array[0, 0])
    np.testing.assert_allclose(reduced, volume.array[0, 0, 6:30, 10:34], atol=1e-3)
    logits = np.zeros((2, 24, 24), np.float32)
    logits[1, 2:22] = 1
    labels = label_slice(logits, grid)
    assert labels.shape == grid.enlarge(logits).shape[1:] == (40, 50)
    np.testing.assert_array_equal(labels, volume.array[0, 0] > 0)
    np.testing.assert_array_equal(grid.enlarge(logits).argmax(axis=0), labels)


def test_the_square_may_reach_over_the_border_of_the_slice() -> None:
    array = np.zeros((1, 2, 40, 50), np.int16)
    array[:, :, :4, 10:34] = 5
    grid = Grid.of(
        Volume(array, UPRIGHT_AFFINE), Preprocessing.for_modality("MR", image_size=24, field_of_view="nonzero")
    )
    assert grid.seen == (slice(0, 14), slice(10, 34))  # ten rows above the slice do not exist
    reduced = grid.reduce(np.ones((40, 50), np.float32))
    assert reduced[:10].max() == 0
    np.testing.assert_allclose(reduced[10:], 1, atol=1e-6)
    mask = grid.reduce_labels((array[0, 0] > 0).astype(np.uint8), 2)
    assert np.flatnonzero(mask.any(axis=1)).tolist() == [10, 11, 12, 13]


def test_the_body_of_an_mr_is_not_known() -> None:
    with pytest.raises(ConfigError, match="field_of_view body needs HU"):
        Preprocessing.parse(
            {"modality": "MR", "percentiles": (1, 99), "image_size": 8, "field_of_view": "body"}, source="test"
        )


@pytest.mark.parametrize("millimetres", [12.0, 16.0, 30.0])
def test_a_field_in_millimetres_lies_around_the_middle_of_the_part(millimetres: float) -> None:
    affine = UPRIGHT_AFFINE @ np.diag([1, 2.0, 2.0, 1])
    volume = Volume(ct().array, affine)  # the body from row 8 to 28 and column 10 to 34
    preprocessing = Preprocessing.for_modality("CT", image_size=16, field_of_view="body", field_mm=millimetres)
    grid = Grid.of(volume, preprocessing)
    half = millimetres / 4
    for along, middle in zip(grid.seen, (18, 22), strict=True):
        assert along.stop - along.start == millimetres / 2
        assert abs(along.start - (middle - half)) <= 0.5
    labels = label_slice(np.stack([np.zeros((16, 16)), np.ones((16, 16))]).astype(np.float32), grid)
    assert labels[grid.seen].all()
    assert labels.sum() == (millimetres / 2) ** 2
