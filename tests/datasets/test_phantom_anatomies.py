"""Every body part that phantoms can have: structures in their places, plausible intensities, patients that differ."""

from __future__ import annotations

from pathlib import Path

import nibabel.orientations as orientations
import numpy as np
import pytest

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.phantom import ANATOMIES, AnatomyName, PhantomSettings, make_phantom
from embedded_vit.datasets.phantom_writer import Layout, write_phantoms
from embedded_vit.volume import LabelMap, Volume

OTHERS: tuple[AnatomyName, ...] = ("chest", "head", "knee", "spine", "vessels")
# Plausible volumes in ml, generous as a scan may cut structures off.
PLAUSIBLE_ML: dict[AnatomyName, dict[str, tuple[float, float]]] = {
    "chest": {"left lung": (800, 4500), "right lung": (800, 4500), "airways": (15, 120)},
    "head": {"brain": (700, 1900), "ventricles": (2, 90)},
    "knee": {"femur": (60, 700), "tibia": (50, 600), "fibula": (3, 60), "patella": (5, 50)},
    "spine": {"vertebrae": (200, 700), "discs": (30, 150)},
    "vessels": {"vessels": (15, 150)},
}
# Median intensities of the structures.
PLAUSIBLE_INTENSITY: dict[AnatomyName, dict[str, tuple[float, float]]] = {
    "chest": {"left lung": (-900, -750), "right lung": (-900, -750), "airways": (-1024, -600)},
    "head": {"brain": (20, 60), "ventricles": (0, 25)},
    "knee": {"femur": (100, 1200), "tibia": (100, 1200), "fibula": (100, 1200), "patella": (100, 1200)},
    "spine": {"vertebrae": (150, 900), "discs": (80, 900)},
    "vessels": {"vessels": (180, 450)},
}


def phantom(anatomy: AnatomyName, number: int = 1, *, seed: int = 5) -> tuple[Volume, LabelMap]:
    slices = 15 if anatomy == "spine" else 40
    return make_phantom(number, seed=seed, settings=PhantomSettings(size=160, slices=slices, anatomy=anatomy))


@pytest.mark.parametrize("anatomy", OTHERS)
def test_structures_have_plausible_volumes_and_intensities(anatomy: AnatomyName) -> None:
    for number in range(4):
        volume, labels = phantom(anatomy, number)
        voxel_ml = np.prod(volume.spacing_mm) / 1000
        for label in ANATOMIES[anatomy].labels.labels:
            inside = volume.array[0][labels.array == label.id]
            for value, (low, high) in (
                (inside.size * voxel_ml, PLAUSIBLE_ML[anatomy][label.name]),
                (float(np.median(inside)), PLAUSIBLE_INTENSITY[anatomy][label.name]),
            ):
                assert low < value < high, f"{label.name} of {volume.source}: {value:.0f}"


@pytest.mark.parametrize("anatomy", OTHERS)
def test_patients_differ_and_the_same_seed_gives_the_same_bytes(anatomy: AnatomyName) -> None:
    small = PhantomSettings(size=48, slices=6, anatomy=anatomy)
    first, again, other = (make_phantom(3, seed=seed, settings=small) for seed in (1, 1, 2))
    assert first[0].array.tobytes() == again[0].array.tobytes()
    assert first[1].array.tobytes() == again[1].array.tobytes()
    assert (first[0].array != other[0].array).mean() > 0.1
    assert first[0].spacing_mm != other[0].spacing_mm


def test_right_and_left_front_and_back_are_where_they_belong() -> None:
    def centre(labels: LabelMap, number: int) -> np.ndarray:
        return (labels.affine @ [*np.argwhere(labels.array == number).mean(axis=0), 1])[:3]

    _, chest = phantom("chest")
    left, right, airways = (centre(chest, number) for number in (1, 2, 3))
    assert left[0] < airways[0] < right[0]  # RAS+: x grows to the patient's right
    _, knee = phantom("knee")
    femur, tibia, _, patella = (centre(knee, number) for number in (1, 2, 3, 4))
    assert femur[2] > tibia[2]
    assert patella[1] > femur[1]  # in front


def test_the_spine_is_sagittal_mr_in_thick_slices() -> None:
    volume, _ = make_phantom(1, settings=PhantomSettings(size=128, anatomy="spine"))
    assert "".join(orientations.aff2axcodes(volume.affine)) == "LIP"
    slice_mm, *in_plane_mm = volume.spacing_mm
    assert volume.shape[0] == 15
    assert slice_mm > 3.5
    assert max(in_plane_mm) < slice_mm
    assert volume.array.min() >= 0


@pytest.mark.parametrize("layout", ["transunet", "decathlon", "nnunet"])
@pytest.mark.parametrize("anatomy", OTHERS)
def test_every_layout_is_read_back_with_its_labels(tmp_path: Path, layout: Layout, anatomy: AnatomyName) -> None:
    settings = PhantomSettings(size=48, slices=6, anatomy=anatomy)
    write_phantoms(tmp_path / "data", 2, layout=layout, settings=settings)
    data_set = open_data_set(tmp_path / "data")
    assert data_set.labels.names == ANATOMIES[anatomy].labels.names
    assert data_set.modality == ("CT" if layout == "transunet" else ANATOMIES[anatomy].modality)
    volume, labels = data_set.read_case(data_set.cases[0])
    expected, truth = make_phantom(1, settings=settings)
    axes = "SLP" if layout == "transunet" else "".join(orientations.aff2axcodes(volume.affine))
    if layout == "transunet":  # without axes: slices stay in their order
        assert np.array_equal(labels.array, truth.array)
    else:
        assert axes == ANATOMIES[anatomy].file_axes
        assert np.array_equal(labels.array, truth.reoriented(axes).array)
        assert np.array_equal(volume.array, expected.reoriented(axes).array)
