from __future__ import annotations

import numpy as np
import pytest
import torch
from memory_data_set import CONTRACT, LABELS, SLP_AFFINE, IntensityEngine, box_mask
from scipy.ndimage import zoom
from torch.nn.functional import interpolate

from embedded_vit.contract import Contract
from embedded_vit.errors import DataSetError
from embedded_vit.evaluation.protocol import PROTOCOLS
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import LabelMap, Volume

EMPTY = box_mask()
LIVER = box_mask((1, slice(1, 4), slice(4, 12), slice(4, 12)))
STRUCTURES = len(LABELS.labels)


def label_map(array: np.ndarray, *, spacing_known: bool = True) -> LabelMap:
    return LabelMap(array, SLP_AFFINE, spacing_known=spacing_known)


def noise_volume(shape: tuple[int, int, int]) -> Volume:
    """A CT whose intensities span the window smoothly enough that rounding decides no label."""
    intensities = np.random.default_rng(7).uniform(-125, 275, shape).astype(np.float32)
    return Volume(intensities[None], SLP_AFFINE)


def test_strict_excludes_what_neither_mask_holds() -> None:
    _, absent, _ = PROTOCOLS["strict"].score(label_map(LIVER), label_map(LIVER), labels=STRUCTURES)
    assert absent.excluded
    assert (absent.dice, absent.jaccard, absent.hd95, absent.nsd) == (None, None, None, None)
    assert not absent.missed
    assert not absent.hallucinated


@pytest.mark.parametrize("missed", [True, False])
def test_strict_gives_zero_and_the_diagonal_for_a_mask_on_one_side(missed: bool) -> None:
    masks = (EMPTY, LIVER) if missed else (LIVER, EMPTY)
    score, *_ = PROTOCOLS["strict"].score(*map(label_map, masks), labels=STRUCTURES)
    assert (score.dice, score.jaccard, score.nsd) == (0, 0, 0)
    assert score.hd95 == pytest.approx(np.sqrt((6 * 3) ** 2 + 2 * (32 * 0.8) ** 2))
    assert (score.missed, score.hallucinated) == (missed, not missed)


def test_strict_measures_in_mm_or_says_voxels() -> None:
    moved = np.roll(LIVER, 2, axis=2)
    strict = PROTOCOLS["strict"]
    in_mm, *_ = strict.score(label_map(moved), label_map(LIVER), labels=STRUCTURES)
    truth = label_map(LIVER, spacing_known=False)
    in_voxels, *_ = strict.score(label_map(moved, spacing_known=False), truth, labels=STRUCTURES)
    assert in_mm.hd95 == pytest.approx(2 * 0.8)
    assert in_voxels.hd95 == pytest.approx(2)
    assert (strict.unit(label_map(LIVER)), strict.unit(truth)) == ("mm", "voxels")


def test_transunet_scores_empties_as_published() -> None:
    protocol = PROTOCOLS["transunet"]
    false_positive, neither, _ = protocol.score(label_map(LIVER), label_map(EMPTY), labels=STRUCTURES)
    missed, *_ = protocol.score(label_map(EMPTY), label_map(LIVER), labels=STRUCTURES)
    assert (false_positive.dice, false_positive.hd95, false_positive.hallucinated) == (1, 0, True)
    assert (missed.dice, missed.hd95, missed.missed) == (0, 0, True)
    assert (neither.dice, neither.hd95, neither.excluded) == (0, 0, False)


def test_transunet_measures_in_voxels_though_the_spacing_is_known() -> None:
    score, *_ = PROTOCOLS["transunet"].score(label_map(np.roll(LIVER, 2, axis=2)), label_map(LIVER), labels=STRUCTURES)
    assert score.hd95 == pytest.approx(2)
    assert PROTOCOLS["transunet"].unit(label_map(LIVER)) == "voxels"


# Not 224 from 512: there scipy's own zoom loses the last row to rounding, which docs/metrics.md describes.
@pytest.mark.parametrize(("rows", "columns", "size"), [(96, 96, 64), (80, 120, 64), (40, 56, 64), (512, 512, 128)])
def test_transunet_segments_as_the_published_script_with_scipys_zoom(rows: int, columns: int, size: int) -> None:
    volume = noise_volume((3, rows, columns))
    contract = Contract(preprocessing=Preprocessing.for_modality("CT", image_size=size), labels=LABELS)
    mask = PROTOCOLS["transunet"].segment(volume, contract, IntensityEngine())
    for index in range(3):
        unit = (volume.intensities(index)[0] + 125) / 400
        reduced = zoom(unit, (size / rows, size / columns), order=3)
        labels = IntensityEngine().run(((reduced - 0.5) / 0.5).astype(np.float32)[None, None])[0].argmax(axis=0)
        expected = zoom(labels.astype(np.uint8), (rows / size, columns / size), order=0)
        assert np.mean(mask.array[index] != expected) < 2e-4  # noise within 1e-6 of a threshold


@pytest.mark.parametrize("name", ["strict", "transunet"])
@pytest.mark.parametrize("codes", ["SLP", "RAS", "PIL"])
def test_the_mask_comes_back_on_the_grid_of_the_scan(name: str, codes: str) -> None:
    upright = Volume((LIVER.astype(np.float32) / STRUCTURES * 400 - 125)[None], SLP_AFFINE)
    volume = upright.reoriented(codes)
    seen = []
    mask = PROTOCOLS[name].segment(volume, CONTRACT, IntensityEngine(), on_slice=lambda: seen.append(1))
    np.testing.assert_array_equal(mask.array, label_map(LIVER).reoriented(codes).array)
    np.testing.assert_allclose(mask.affine, volume.affine)
    assert len(seen) == 6


def test_a_truth_on_another_grid_is_refused_in_one_line() -> None:
    with pytest.raises(DataSetError, match="grid") as caught:
        PROTOCOLS["strict"].score(label_map(LIVER), label_map(LIVER[:, :-1]), labels=STRUCTURES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["strict", "transunet"])
def test_logits_coarser_than_the_input_give_the_mask_of_logits_that_were_enlarged_before(name: str) -> None:
    """A network with a stride of 2 is the same network with its logits enlarged inside it."""

    class Coarse(IntensityEngine):
        def run(self, image_bchw: np.ndarray) -> np.ndarray:
            return super().run(image_bchw).reshape(1, -1, 32, 2, 32, 2).mean(axis=(3, 5)).astype(np.float32)

    class Enlarged(Coarse):
        def run(self, image_bchw: np.ndarray) -> np.ndarray:
            logits = torch.from_numpy(super().run(image_bchw))
            return interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False).numpy()

    volume = noise_volume((3, 64, 64))
    coarse = Contract(preprocessing=Preprocessing.for_modality("CT", image_size=64, output_stride=2), labels=LABELS)
    fine = Contract(preprocessing=Preprocessing.for_modality("CT", image_size=64), labels=LABELS)
    expected = PROTOCOLS[name].segment(volume, fine, Enlarged()).array
    np.testing.assert_array_equal(PROTOCOLS[name].segment(volume, coarse, Coarse()).array, expected)
