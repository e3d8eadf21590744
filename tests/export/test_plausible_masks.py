"""What masks look like is measured on training and validation cases, from true masks and the network's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedded_vit.contract import Contract
from embedded_vit.datasets.data_set import Case, DataSet, Split
from embedded_vit.export.plausible_masks import MOST_CASES, figures_of_case, measured_plausibility
from embedded_vit.labels import LabelSet
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import LabelMap, Volume

LABELS = LabelSet.from_names(["bright"])
CONTRACT = Contract(preprocessing=Preprocessing.for_modality("CT", image_size=64), labels=LABELS)
AFFINE = np.array([[0.0, -2, 0, 0], [0, 0, -2, 0], [4, 0, 0, 0], [0, 0, 0, 1]])  # 4 x 2 x 2 mm


class Threshold:
    """Labels what is brighter than mid-window, 75 HU, and is ever surer with distance from it."""

    streams = 1

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([-2 * image_bchw, 2 * image_bchw], axis=1)


def case(width: int, *, spacing_known: bool = True) -> tuple[Volume, LabelMap]:
    """A body of 40 x 40 pixels whose left half holds a box of 8 slices, `width` x 10 pixels, of 200 HU."""
    image, labels = np.full((1, 16, 64, 64), -1000, np.int16), np.zeros((16, 64, 64), np.uint8)
    image[:, :, 12:52, 12:52] = 0
    labels[4:12, 36 : 36 + width, 27:37] = 1
    image[0][labels == 1] = 200
    return Volume(image, AFFINE, spacing_known=spacing_known), LabelMap(labels, AFFINE, spacing_known=spacing_known)


@dataclass(frozen=True)
class Boxes(DataSet):
    widths: Mapping[str, int] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def read_volume(self, case_: Case) -> Volume:
        self.read.append(case_.name)
        return case(self.widths[case_.name])[0]

    def read_labels(self, case_: Case) -> LabelMap:
        return case(self.widths[case_.name])[1]


def boxes(number: int) -> tuple[Boxes, Split]:
    names = tuple(f"case{index:02d}" for index in range(number))
    cases = tuple(Case(name, name) for name in names)
    widths = {name: 6 + index % 5 for index, name in enumerate(names)}
    data_set = Boxes(Path("boxes"), "boxes", "CT", ("CT",), LABELS, cases, widths=widths)
    return data_set, Split(seed=0, train=names[2:-1], validation=names[:2], test=names[-1:])


def test_figures_say_volume_place_share_and_certainty() -> None:
    found, truth = figures_of_case(*case(8), CONTRACT, Threshold())
    box = truth.structures[1]
    assert box.volume == pytest.approx(8 * 8 * 10 * 16 / 1000)
    assert found.structures[1].volume == pytest.approx(box.volume, rel=0.15)
    # A square's deviation is its side / sqrt(12), so that the box of two deviations is wider than it by 2 / sqrt(3).
    assert box.place["left"] == pytest.approx(0.5 + (40 - 32) / (40 * 2 / 3**0.5), abs=0.02)
    assert box.place["posterior"] == pytest.approx(0.5, abs=0.02)
    assert box.share == pytest.approx(8 * 10 / (40 * 40), rel=0.05)
    assert box.centre[0] == pytest.approx(0.5)
    assert box.confidence == found.structures[1].confidence == pytest.approx(1 / (1 + np.exp(-4 * 0.625)), abs=0.03)
    assert not box.at_border
    assert truth.height_mm == 64
    assert not truth.cropped


def test_a_crop_out_of_the_body_is_known_as_such() -> None:
    volume, labels = case(8)
    crop = Volume(volume.array[..., 30:50, 20:45], AFFINE), LabelMap(labels.array[..., 30:50, 20:45], AFFINE)
    assert all(figures.cropped for figures in figures_of_case(*crop, CONTRACT, Threshold()))


def test_volumes_are_in_voxels_where_the_spacing_is_not_known() -> None:
    _, truth = figures_of_case(*case(8, spacing_known=False), CONTRACT, Threshold())
    assert not truth.in_ml
    assert truth.height_mm is None
    assert truth.structures[1].volume == 640


def test_ranges_are_of_training_and_validation_cases() -> None:
    data_set, split = boxes(10)
    plausibility = measured_plausibility(data_set, split, CONTRACT, Threshold())
    assert plausibility is not None
    assert plausibility.cases == 9
    assert sorted(data_set.read) == sorted((*split.train, *split.validation))
    low, high = plausibility.structures["bright"].volume
    assert low < 8 * 6 * 10 * 16 / 1000 / 1.49
    assert high > 8 * 10 * 10 * 16 / 1000 * 1.49
    assert plausibility.structures["bright"].in_every_case


def test_of_many_cases_a_few_are_read_and_of_too_few_nothing_is_said() -> None:
    many, split = boxes(60)
    assert measured_plausibility(many, split, CONTRACT, Threshold()) is not None
    assert len(many.read) <= MOST_CASES
    assert set(split.validation) <= set(many.read)
    few, split = boxes(5)
    assert measured_plausibility(few, split, CONTRACT, Threshold()) is None
    other, _ = boxes(3)
    assert (
        measured_plausibility(other, Split(seed=0, train=("x",), validation=(), test=()), CONTRACT, Threshold()) is None
    )
