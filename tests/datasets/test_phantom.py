"""Phantoms: the same bytes for a seed, organs where they belong, and no threshold that finds them."""

from __future__ import annotations

import hashlib

import nibabel.orientations as orientations
import numpy as np
import pytest

from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.errors import ConfigError
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.volume import LabelMap, Volume

MEDIUM = PhantomSettings(size=128, slices=32)
NUMBERS = {label.name: label.id for label in SYNAPSE_LABELS.labels}
# Plausible volumes of adults' organs in ml, generous at both ends as a scan may cut them off.
PLAUSIBLE_ML = {"aorta": (40, 200), "left kidney": (90, 330), "right kidney": (90, 330), "liver": (600, 2600),
                "pancreas": (30, 160), "spleen": (40, 500), "stomach": (100, 800)}  # fmt: skip


@pytest.fixture(scope="module")
def patients() -> list[tuple[Volume, LabelMap]]:
    return [make_phantom(number, seed=5, settings=MEDIUM) for number in range(8)]


def centre_mm(labels: LabelMap, name: str) -> np.ndarray:
    """The middle of an organ in RAS+ mm."""
    index = np.argwhere(labels.array == NUMBERS[name]).mean(axis=0)
    return (labels.affine @ [*index, 1])[:3]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_patient() -> None:
    small = PhantomSettings(size=48, slices=6)
    first, again, other = (make_phantom(3, seed=seed, settings=small) for seed in (1, 1, 2))
    assert first[0].array.tobytes() == again[0].array.tobytes()
    assert first[1].array.tobytes() == again[1].array.tobytes()
    assert first[0].affine.tolist() == again[0].affine.tolist()
    assert (first[1].array != other[1].array).mean() > 0.01


def test_the_abdomen_is_the_one_that_it_always_was() -> None:
    volume, labels = make_phantom(1, seed=0, settings=PhantomSettings(size=96, slices=12))
    found = hashlib.sha256(volume.array.tobytes() + labels.array.tobytes()).hexdigest()
    assert found == "bd406f806d08efbd54a944307b46eb467cc0a0654d9cc188b953d03a7785a0e3"


def test_volumes_are_ct_in_training_orientation(patients: list[tuple[Volume, LabelMap]]) -> None:
    for volume, labels in patients:
        assert volume.array.dtype == np.int16
        assert labels.array.dtype == np.uint8
        assert volume.shape == labels.array.shape == (32, 128, 128)
        assert "".join(orientations.aff2axcodes(volume.affine)) == "SLP"
        assert volume.array.min() >= -1024
        assert -1010 < np.median(volume.array[0, :, 0]) < -990  # air beside the patient
        assert volume.array.max() > 300  # bone


def test_organs_have_plausible_volumes(patients: list[tuple[Volume, LabelMap]]) -> None:
    for volume, labels in patients:
        voxel_ml = np.prod(volume.spacing_mm) / 1000
        for name, (low, high) in PLAUSIBLE_ML.items():
            organ_ml = (labels.array == NUMBERS[name]).sum() * voxel_ml
            assert low < organ_ml < high, f"{volume.source}: {name} has {organ_ml:.0f} ml"


def test_the_gallbladder_is_there_in_most_patients_but_not_in_all() -> None:
    small = PhantomSettings(size=64, slices=24)
    present = [2 in make_phantom(number, settings=small)[1].array for number in range(24)]
    assert 16 <= sum(present) < 24


def test_organs_lie_where_they_belong(patients: list[tuple[Volume, LabelMap]]) -> None:
    for _, labels in patients:
        right, anterior, superior = range(3)
        liver, spleen, aorta = (centre_mm(labels, name) for name in ("liver", "spleen", "aorta"))
        left_kidney, right_kidney = centre_mm(labels, "left kidney"), centre_mm(labels, "right kidney")
        stomach, pancreas = centre_mm(labels, "stomach"), centre_mm(labels, "pancreas")
        assert liver[right] > aorta[right] > spleen[right]
        assert right_kidney[right] > aorta[right] > left_kidney[right]
        assert stomach[anterior] > pancreas[anterior] > left_kidney[anterior]
        assert spleen[superior] > left_kidney[superior]
        assert liver[superior] > right_kidney[superior]


def test_no_threshold_finds_an_organ(patients: list[tuple[Volume, LabelMap]]) -> None:
    """The best intensity range for each organ, found with the truth at hand, still overlaps it badly."""
    for volume, labels in patients[:3]:
        hu, mask = volume.array[0].ravel(), labels.array.ravel()
        for organ in ("spleen", "pancreas", "stomach", "left kidney"):
            inside = hu[mask == NUMBERS[organ]]
            scores = []
            for low, high in ((5, 95), (15, 85), (25, 75)):
                chosen = (hu >= np.percentile(inside, low)) & (hu <= np.percentile(inside, high))
                hits = (chosen & (mask == NUMBERS[organ])).sum()
                scores.append(2 * hits / (chosen.sum() + inside.size))
            assert max(scores) < 0.5, f"{volume.source}: {organ} found by threshold with Dice {max(scores):.2f}"


def test_patients_differ(patients: list[tuple[Volume, LabelMap]]) -> None:
    livers_ml = [(labels.array == 5).sum() * np.prod(labels.spacing_mm) / 1000 for _, labels in patients]
    assert max(livers_ml) > 1.2 * min(livers_ml)
    assert len({volume.spacing_mm for volume, _ in patients}) == len(patients)


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="size"):
        PhantomSettings.parse({"size": 8}, source="the command line")
