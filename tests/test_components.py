"""Components found from runs are those that scipy finds from voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray
from scipy import ndimage

from embedded_vit import components as module
from embedded_vit.components import Components


def components_of(mask: NDArray[np.uint8]) -> Components:
    components = Components()
    for labels in mask:
        components.add(labels)
    return components


def without_islands(mask: NDArray[np.uint8], smallest_share: list[float]) -> NDArray[np.uint8]:
    cleaned = mask.copy()
    for labels, runs in zip(cleaned, components_of(mask).islands(smallest_share), strict=True):
        for row, begin, end, label in runs:
            assert (labels[row, begin:end] == label).all()
            labels[row, begin:end] = 0
    return cleaned


def expected(mask: NDArray[np.uint8], smallest_share: list[float]) -> NDArray[np.uint8]:
    """The same from voxels."""
    cleaned = mask.copy()
    for label, share in enumerate(smallest_share, start=1):
        found, _ = ndimage.label(mask == label, np.ones((3, 3, 3)))
        voxels = np.bincount(found.ravel())
        voxels[0] = 0
        too_small = np.flatnonzero(voxels < share * voxels.max())
        cleaned[np.isin(found, too_small[too_small > 0])] = 0
    return cleaned


@settings(max_examples=150, deadline=None)
@given(
    seed=some.integers(0, 2**32 - 1),
    shape=some.tuples(some.integers(1, 6), some.integers(1, 9), some.integers(1, 9)),
    filled=some.floats(0, 1),
    shares=some.tuples(some.sampled_from([0.0, 0.3, 1.0]), some.sampled_from([0.0, 0.5, 1.0])),
)
def test_what_goes_is_what_voxels_say(seed: int, shape: tuple[int, ...], filled: float, shares: tuple) -> None:
    random = np.random.default_rng(seed)
    mask = (random.integers(1, 3, shape) * (random.random(shape) < filled)).astype(np.uint8)
    np.testing.assert_array_equal(without_islands(mask, list(shares)), expected(mask, list(shares)))


def test_a_winding_structure_is_one_component() -> None:
    mask = np.zeros((3, 41, 41), np.uint8)
    mask[0, ::2] = 1  # a serpentine: row, turn, row, turn, ...
    mask[0, 1::4, -1] = mask[0, 3::4, 0] = 1
    mask[2, 5:9, 5:9] = 1  # not touching
    assert [size.tolist() for size in components_of(mask).sizes().values()] == [[21 * 41 + 20, 16]]


def test_the_last_row_does_not_touch_the_next_slice_s_first() -> None:
    mask = np.zeros((2, 4, 5), np.uint8)
    mask[0, 3] = mask[1, 0] = 1
    assert components_of(mask).sizes()[1].tolist() == [5, 5]


def test_an_empty_mask_has_none() -> None:
    components = components_of(np.zeros((2, 4, 5), np.uint8))
    assert components.sizes() == {}
    assert [len(runs) for runs in components.islands([1.0])] == [0, 0]


def test_a_mask_of_noise_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_RUNS", 50)
    noise = np.random.default_rng(0).integers(0, 2, (4, 16, 16)).astype(np.uint8)
    assert components_of(noise).too_many
    np.testing.assert_array_equal(without_islands(noise, [1.0]), noise)
