"""Masks come back on the scan's own grid, whatever its orientation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from threading import Barrier
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedded_vit.contract import Contract
from embedded_vit.errors import NetworkError
from embedded_vit.labels import LabelSet
from embedded_vit.postprocessing import Postprocessing
from embedded_vit.predict.labelling import label_slice
from embedded_vit.predict.segmentation import map_ahead, segment
from embedded_vit.preprocessing import Grid, Preprocessing
from embedded_vit.volume import Volume, spacing_of

ORIENTATIONS = [
    "".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes)
]  # all 48: six orders of the axes, eight ways to flip them


class ThresholdEngine:
    """Stands in for a network: class 1 where the slice is brighter than the middle of the window."""

    streams = 1

    def run(self, image_bchw: np.ndarray) -> np.ndarray:
        middle = image_bchw[:, image_bchw.shape[1] // 2]  # the slice itself, not its context
        return np.stack([-middle, middle], axis=1)


class RecordingEngine(ThresholdEngine):
    """Keeps every input that it was given."""

    def __init__(self) -> None:
        self.inputs: list[np.ndarray] = []

    def run(self, image_bchw: np.ndarray) -> np.ndarray:
        self.inputs.append(image_bchw.copy())
        return super().run(image_bchw)


class PatientEngine(ThresholdEngine):
    """Two streams, of which neither answers before both were asked."""

    streams = 2

    def __init__(self) -> None:
        self.asked = Barrier(2, timeout=10)

    def run(self, image_bchw: np.ndarray) -> np.ndarray:
        self.asked.wait()
        return super().run(image_bchw)


class RefusingEngine(ThresholdEngine):
    """Two streams that refuse slices as dark as air."""

    streams = 2

    def run(self, image_bchw: np.ndarray) -> np.ndarray:
        if image_bchw.max() <= -1:
            raise NetworkError("air")
        return super().run(image_bchw)


def contract_of(*, smallest_share: float = 0, **settings: Any) -> Contract:
    """The contract of a network that finds the box."""
    return Contract(
        preprocessing=Preprocessing.for_modality("CT", **settings),
        labels=LabelSet.from_names(["box"]),
        postprocessing=Postprocessing(smallest_component={"box": smallest_share}),
    )


def scan_of_a_box(orientation: str) -> tuple[Volume, np.ndarray]:
    """A CT with a bright box off its middle, seen in any orientation, and the box's voxels."""
    hounsfield = np.full((12, 40, 48), -1000, np.int16)  # right to left, front to back, feet to head as SLP
    hounsfield[2:7, 8:30, 12:20] = 400
    affine = np.array([[0, -1.5, 0, 30], [0, 0, -1.25, 20], [4, 0, 0, -80], [0, 0, 0, 1]], float)
    turned = Volume(hounsfield[None], affine).reoriented(orientation)
    return turned, turned.array[0] > 0


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_same_voxels_are_labelled_in_every_orientation(orientation: str) -> None:
    volume, box = scan_of_a_box(orientation)
    mask = segment(volume, contract_of(image_size=96, context_slices=3), ThresholdEngine())
    assert "".join(nibabel.aff2axcodes(mask.affine)) == orientation
    np.testing.assert_array_equal(mask.affine, volume.affine)
    assert mask.array.dtype == np.uint8
    overlap = 2 * (mask.array.astype(bool) & box).sum() / (mask.array.astype(bool).sum() + box.sum())
    assert overlap > 0.93  # the box's in-plane edges lie between the network's pixels
    along_slices = orientation.index(next(code for code in orientation if code in "SI"))
    others = tuple(axis for axis in range(3) if axis != along_slices)
    np.testing.assert_array_equal(mask.array.any(axis=others), box.any(axis=others))


def test_the_network_sees_one_orientation_whatever_the_file_has() -> None:
    contract = contract_of(image_size=32)
    seen = []
    for orientation in ("SLP", "RAS", "LPI"):
        engine = RecordingEngine()
        segment(scan_of_a_box(orientation)[0], contract, engine)
        seen.append(np.concatenate(engine.inputs))
    assert seen[0].shape == (12, 1, 32, 32)
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-6)
    np.testing.assert_allclose(seen[2], seen[0], atol=1e-6)


def test_an_oblique_scan_keeps_its_affine_exactly() -> None:
    volume, _ = scan_of_a_box("RAS")
    angle = np.deg2rad(17)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = Volume(volume.array, turn @ volume.affine)
    mask = segment(oblique, contract_of(image_size=32), ThresholdEngine())
    np.testing.assert_array_equal(mask.affine, oblique.affine)
    assert mask.spacing_mm == spacing_of(oblique.affine)
    assert mask.array.shape == oblique.shape


def test_progress_is_told_once_a_slice() -> None:
    ticks: list[int] = []
    volume, _ = scan_of_a_box("LAS")
    segment(volume, contract_of(image_size=32), ThresholdEngine(), on_slice=lambda: ticks.append(1))
    assert len(ticks) == 12


def test_every_stream_has_a_slice_at_a_time_and_the_mask_is_the_same() -> None:
    volume = scan_of_a_box("SLP")[0]
    volume.array[:] = np.maximum(volume.array, np.arange(12)[:, None, None] * 50 - 100)  # every slice another
    contract = contract_of(image_size=32, context_slices=3)
    expected = segment(volume, contract, ThresholdEngine())
    found = segment(volume, contract, PatientEngine())
    np.testing.assert_array_equal(found.array, expected.array)
    assert len({slice_.tobytes() for slice_ in expected.array}) > 1


def test_what_a_stream_refuses_is_refused() -> None:
    with pytest.raises(NetworkError, match="air"):
        segment(scan_of_a_box("SLP")[0], contract_of(image_size=32), RefusingEngine())


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_items_wait_as_there_are_workers(workers: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    for number, result in enumerate(map_ahead(lambda item: -item, items(), workers=workers)):
        assert result == -number
        assert len(taken) <= number + 2 * workers + 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    size=st.sampled_from([8, 24, 64]),
    output_stride=st.sampled_from([1, 2, 4]),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    spacing_mm=st.tuples(st.floats(0.5, 3), st.floats(0.5, 3)),
    lead=st.floats(0, 3),
)
def test_label_slice_is_the_argmax_of_enlarged_logits(
    seed: int, size: int, output_stride: int, shape: tuple[int, int], spacing_mm: tuple[float, float], lead: float
) -> None:
    output_size = size // output_stride
    logits = np.random.default_rng(seed).standard_normal((5, output_size, output_size)).astype(np.float32)
    logits[0] += lead
    grid = Grid.between(shape, size, spacing_mm=spacing_mm, output_size=output_size)
    enlarged = grid.enlarge(logits)
    labels = label_slice(logits, grid)
    chosen = np.take_along_axis(enlarged, labels[None].astype(int), axis=0)[0]
    np.testing.assert_allclose(chosen, enlarged.max(axis=0), atol=1e-5)
    clear = np.diff(np.sort(enlarged, axis=0)[-2:], axis=0)[0] > 1e-5
    np.testing.assert_array_equal(labels[clear], enlarged.argmax(axis=0)[clear])


def test_the_lower_class_wins_a_tie() -> None:
    grid = Grid.between((16, 16), 8)
    assert (label_slice(np.zeros((3, 8, 8), np.float32), grid) == 0).all()
    tied = np.zeros((3, 8, 8), np.float32)
    tied[1:] = 1
    assert (label_slice(tied, grid) == 1).all()


@pytest.mark.parametrize("orientation", ["SLP", "RAS", "PSL"])
def test_small_components_are_removed_in_every_orientation(orientation: str) -> None:
    volume, _ = scan_of_a_box(orientation)
    upright = volume.reoriented().array[0]  # views: what is written here is in the volume
    upright[9:11, 30:38, 30:44] = 400
    whole, kept, cleaned = (
        segment(volume, contract_of(smallest_share=share, image_size=96), ThresholdEngine()) for share in (0, 0.1, 1)
    )
    np.testing.assert_array_equal(kept.array, whole.array)
    assert whole.reoriented().array[9:11, 32:36, 32:42].all()
    assert not cleaned.reoriented().array[9:11].any()
    np.testing.assert_array_equal(cleaned.reoriented().array[:9], whole.reoriented().array[:9])
