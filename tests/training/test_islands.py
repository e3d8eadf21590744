"""What training masks say about islands."""

from __future__ import annotations

import numpy as np
import pytest

from embedded_vit import components
from embedded_vit.labels import LabelSet
from embedded_vit.training.islands import find_postprocessing
from embedded_vit.training.slices import SliceSet

LABELS = LabelSet.from_names(["liver", "kidneys", "tumour", "rare"])
CASES = tuple(f"case{number}" for number in range(6))


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
    found = find_postprocessing(slices, CASES, LABELS).smallest_component
    assert found == {"liver": 0.2, "kidneys": pytest.approx(0.2 * 2 / 3, abs=1e-3)}


def test_a_few_stray_voxels_do_not_count(slices: SliceSet) -> None:
    slices.labels[0, 30, 2] = 1
    assert find_postprocessing(slices, CASES, LABELS).smallest_component["liver"] == 0.2


def test_only_the_named_cases_are_looked_at(slices: SliceSet) -> None:
    slices.labels[10:, 2:14, 6:9] = 0  # the last patient's liver falls in two, 4 and 5 columns wide
    assert find_postprocessing(slices, CASES[:5], LABELS).smallest_component["liver"] == 0.2
    assert find_postprocessing(slices, CASES, LABELS).smallest_component["liver"] == pytest.approx(
        0.2 * 4 / 5, abs=1e-3
    )


def test_few_cases_say_nothing(slices: SliceSet) -> None:
    assert find_postprocessing(slices, CASES[:4], LABELS).smallest_component == {}


def test_masks_of_noise_say_nothing(slices: SliceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "MAXIMUM_RUNS", 10)
    assert find_postprocessing(slices, CASES, LABELS).smallest_component == {}


def test_shares_follow_the_labels(slices: SliceSet) -> None:
    assert find_postprocessing(slices, CASES, LABELS).smallest_shares(LABELS) == pytest.approx(
        [1 / 5, 2 / 15, 0, 0], abs=1e-3
    )
