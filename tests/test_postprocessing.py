"""Small components: found from runs as scipy finds them from voxels, and what training masks say about them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray
from scipy import ndimage

from embedded_vit import postprocessing as module
from embedded_vit.labels import LabelSet
from embedded_vit.postprocessing import Components, find_postprocessing
from embedded_vit.training.slices import SliceSet

LABELS = LabelSet.from_names(["liver", "kidneys", "tumour", "rare"])
CASES = tuple(f"case{number}" for number in range(6))


def components_of(mask: NDArray[np.uint8]) -> Components:
    components = Components()
    for labels in mask:
        components.add(labels)
    return components


def without_small_components(mask: NDArray[np.uint8], smallest_share: list[float]) -> NDArray[np.uint8]:
    cleaned = mask.copy()
    for labels, runs in zip(cleaned, components_of(mask).small_components(smallest_share), strict=True):
        for row, begin, end, label in runs:
            assert (labels[row, begin:end] == label).all()
            labels[row, begin:end] = 0
    return cleaned


def expected(mask: NDArray[np.uint8], smallest_share: list[float]) -> NDArray[np.uint8]:
    """Compute the same from voxels."""
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
    np.testing.assert_array_equal(without_small_components(mask, list(shares)), expected(mask, list(shares)))


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
    assert [len(runs) for runs in components.small_components([1.0])] == [0, 0]


def test_a_mask_of_noise_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_RUNS", 50)
    noise = np.random.default_rng(0).integers(0, 2, (4, 16, 16)).astype(np.uint8)
    assert components_of(noise).too_many
    np.testing.assert_array_equal(without_small_components(noise, [1.0]), noise)


@pytest.fixture
def slices() -> SliceSet:
    """Six patients of two slices: a liver in one piece, two kidneys of which one may be smaller, scattered tumours."""
    labels = np.zeros((12, 32, 32), np.uint8)
    labels[:, 2:14, 2:14] = 1
    labels[:, 20:25, 2:7] = 2
    labels[:, 20:25, 12:17] = 2
    labels[4:6, 23:25] = 0  # the third patient's kidneys
    labels[4:6, 22, 12:17] = 0
    labels[:, 2:10, 20:28] = 3
    labels[:, 12, 20:28:2] = 3
    labels[0:4, 28:30, 28:30] = 4  # two patients only
    case_of = np.repeat(np.arange(6), 2)
    return SliceSet(np.zeros((12, 1, 32, 32), np.float16), labels, CASES, case_of, "")


def test_structures_in_few_pieces_are_named_with_the_smallest(slices: SliceSet) -> None:
    found = find_postprocessing(slices.masks_of(CASES), LABELS).smallest_component
    assert found == {"liver": 0.2, "kidneys": pytest.approx(0.2 * 2 / 3, abs=1e-3)}


def test_a_few_stray_voxels_do_not_count(slices: SliceSet) -> None:
    slices.labels[0, 30, 2] = 1
    assert find_postprocessing(slices.masks_of(CASES), LABELS).smallest_component["liver"] == 0.2


def test_only_the_named_cases_are_looked_at(slices: SliceSet) -> None:
    slices.labels[10:, 2:14, 6:9] = 0  # the last patient's liver falls in two, 4 and 5 columns wide
    assert find_postprocessing(slices.masks_of(CASES[:5]), LABELS).smallest_component["liver"] == 0.2
    assert find_postprocessing(slices.masks_of(CASES), LABELS).smallest_component["liver"] == pytest.approx(
        0.2 * 4 / 5, abs=1e-3
    )


def test_few_cases_say_nothing(slices: SliceSet) -> None:
    assert find_postprocessing(slices.masks_of(CASES[:4]), LABELS).smallest_component == {}


def test_masks_of_noise_say_nothing(slices: SliceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_RUNS", 10)
    assert find_postprocessing(slices.masks_of(CASES), LABELS).smallest_component == {}


def test_shares_follow_the_labels(slices: SliceSet) -> None:
    assert find_postprocessing(slices.masks_of(CASES), LABELS).smallest_shares(LABELS) == pytest.approx(
        [1 / 5, 2 / 15, 0, 0], abs=1e-3
    )
