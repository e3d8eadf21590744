from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from matplotlib.image import imread
from memory_data_set import LABELS, SLP_AFFINE, box_mask

from embedded_vit.contract import Contract
from embedded_vit.evaluation.pictures import MARGIN, PictureCollector, not_black, png_data_uri, slice_dice
from embedded_vit.overlay import overlay
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import LabelMap, Volume

CONTRACT = Contract(preprocessing=Preprocessing.for_modality("CT", image_size=32), labels=LABELS)


def scan(shape: tuple[int, int, int] = (6, 32, 24)) -> Volume:
    """Brighter to the patient's left (rows), and much brighter to posterior (columns)."""
    _, rows, columns = shape
    intensities = np.arange(rows)[:, None] + 4.0 * np.arange(columns)[None, :]
    return Volume(np.broadcast_to(intensities, (1, *shape)).astype(np.float32), SLP_AFFINE)


def test_pictures_have_anterior_up_and_the_patients_right_on_the_left() -> None:
    mask = LabelMap(box_mask((1, slice(2, 3), slice(0, 10), slice(0, 4)), shape=(6, 32, 24)), SLP_AFFINE)
    # In whatever orientation the file lies:
    volume, mask = scan().reoriented("RAS"), mask.reoriented("RAS")
    collector = PictureCollector(CONTRACT)
    collector.add("case", volume, mask, mask)
    picture = collector.chosen()["Best"]
    assert picture.seen.shape == (24, 32)
    assert (np.diff(picture.seen.astype(int), axis=0) > 0).all()  # down is posterior
    assert (np.diff(picture.seen.astype(int), axis=1) >= 0).all()  # right is the patient's left
    assert picture.truth[:4, :10].all()
    assert picture.height_to_width == pytest.approx(24 / 32)
    assert (picture.index, picture.dice) == (2, 1.0)


def test_black_margins_are_not_shown() -> None:
    mask = box_mask((1, slice(2, 3), slice(20, 26), slice(12, 16)), shape=(6, 60, 48))
    intensities = np.full((1, 6, 60, 48), -1000.0, np.float32)
    intensities[0, :, 18:30, 10:20] = 40.0
    collector = PictureCollector(CONTRACT)
    labels = LabelMap(mask, SLP_AFFINE)
    collector.add("case", Volume(intensities, SLP_AFFINE), labels, labels)
    picture = collector.chosen()["Best"]
    assert picture.seen.shape == picture.truth.shape == (10 + 2 * MARGIN, 12 + 2 * MARGIN)
    assert picture.truth[2 + MARGIN : 6 + MARGIN, 2 + MARGIN : 8 + MARGIN].all()
    assert picture.truth.sum() == 24
    assert not_black(np.zeros((1, 6, 5), np.float32)) == (slice(None), slice(None))


def test_best_median_and_worst_are_found_over_all_cases() -> None:
    full = box_mask(*[(1, slice(index, index + 1), slice(0, 10), slice(0, 10)) for index in range(6)])
    collector = PictureCollector(CONTRACT)
    for case, kept_columns in (("good", 10), ("fair", 5), ("bad", 1)):
        prediction = full.copy()
        prediction[:, :, kept_columns:] = 0
        volume = Volume(np.zeros((1, *full.shape), np.float32), SLP_AFFINE)
        collector.add(case, volume, LabelMap(full, SLP_AFFINE), LabelMap(prediction, SLP_AFFINE))
    chosen = collector.chosen()
    assert {name: picture.case for name, picture in chosen.items()} == {
        "Best": "good",
        "Median": "fair",
        "Worst": "bad",
    }
    assert chosen["Median"].dice == pytest.approx(2 * 50 / 150)


def test_slices_with_few_of_the_structures_do_not_compete() -> None:
    truth = box_mask(
        (1, slice(0, 3), slice(0, 5), slice(0, 5)),
        (2, slice(2, 3), slice(8, 12), slice(0, 5)),
        (3, slice(2, 3), slice(16, 20), slice(0, 5)),
    )
    prediction = truth.copy()
    prediction[2, 8:12] = 0  # the only full slice is not perfect, the poor ones are
    volume = Volume(np.zeros((1, *truth.shape), np.float32), SLP_AFFINE)
    collector = PictureCollector(CONTRACT)
    collector.add("case", volume, LabelMap(truth, SLP_AFFINE), LabelMap(prediction, SLP_AFFINE))
    assert {picture.index for picture in collector.chosen().values()} == {2}


def test_a_scan_without_structures_has_no_picture() -> None:
    empty = LabelMap(box_mask(), SLP_AFFINE)
    collector = PictureCollector(CONTRACT)
    collector.add("case", Volume(np.zeros((1, 6, 32, 32), np.float32), SLP_AFFINE), empty, empty)
    assert collector.chosen() == {}


def test_slice_dice_averages_the_structures_of_the_slice() -> None:
    truth = box_mask((1, slice(0, 2), slice(0, 4), slice(0, 4)), (2, slice(0, 1), slice(8, 10), slice(0, 4)))
    prediction = truth.copy()
    prediction[0, 9] = 0
    dice, shown = slice_dice(prediction, truth, labels=3)
    assert dice[:2] == pytest.approx([(1 + 2 * 4 / 12) / 2, 1])
    assert np.isnan(dice[2])
    assert list(shown[:3]) == [2, 1, 0]


def test_an_overlay_has_opaque_outlines_and_leaves_background_alone() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[1:6, 1:6] = 2
    picture = overlay(np.full((8, 8), 100, np.uint8), mask, LABELS)
    assert tuple(picture[1, 1]) == LABELS.labels[1].rgb
    assert tuple(picture[7, 7]) == (100, 100, 100)
    assert tuple(picture[3, 3]) not in (LABELS.labels[1].rgb, (100, 100, 100))


def test_a_png_address_decodes_to_the_same_picture() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    png = base64.b64decode(png_data_uri(colour).removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.rint(imread(io.BytesIO(png))[..., :3] * 255), colour)
