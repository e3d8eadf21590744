"""Every rule of a plan, on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from planning_bench import FAST, ball, made, seen

from embedded_vit.planning.geometry import choose_field_of_view, choose_mirror, choose_orientation, choose_plane
from embedded_vit.planning.intensities import choose_intensities
from embedded_vit.planning.pace import Pace
from embedded_vit.planning.schedule import Workload, choose_batch_size, choose_epochs, choose_size, narrowest_shares

SHAPE, SPACING = (8, 40, 40), (3.0, 1.0, 1.0)


def lungs(seed: int, *, softer: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A ball of -850 HU (or 40), and one of 900, in soft tissue of 30."""
    random = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.uint8)
    mask[ball(SHAPE, (12, 12, 20), 7, SPACING)] = 1
    mask[ball(SHAPE, (12, 30, 20), 5, SPACING)] = 2
    hounsfield = np.select([mask == 1, mask == 2], [40.0 if softer else -850.0, 900.0], 30.0)
    noise = random.normal(0, 1, SHAPE) * np.select([mask == 2], [300.0], 10.0)
    return (hounsfield + noise).astype(np.int16), mask


def test_the_window_holds_what_is_labelled() -> None:
    found = choose_intensities(
        seen(made([(array, (mask == 1).astype(np.uint8)) for array, mask in map(lungs, range(4))]))
    )
    low, high = found.value["window_hu"]
    assert -910 < low < -870
    assert -830 < high < -790  # 60 HU of noise alone are widened to 100


def test_bone_may_saturate_where_soft_tissue_would_lose_its_contrast() -> None:
    data_set = made([lungs(seed, softer=True) for seed in range(4)], names=("gland", "bone"))
    low, high = choose_intensities(seen(data_set)).value["window_hu"]
    assert low <= 15
    assert 550 < high < 800  # a quarter of the bone is darker
    assert "bone may saturate" in choose_intensities(seen(data_set)).reason


@pytest.mark.parametrize(("steady", "expected"), [("mean", "deviations"), ("ends", "percentiles")])
def test_mr_is_normalised_so_that_structures_are_as_bright_in_every_scan(steady: str, expected: str) -> None:
    cases = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        mask = np.zeros(SHAPE, np.uint8)
        mask[ball(SHAPE, (12, 20, 20), 8, SPACING)] = 1
        array = 100 + 10 * random.standard_normal(SHAPE) + 20 * mask
        if steady == "mean":  # a bright spot of another height in every scan moves the percentiles
            array[:, :4, :4] += 200 * (1 + seed)
        else:  # more or less background moves mean and deviation
            array[:, :, : 2 + 2 * seed] = 60 + random.standard_normal((8, 40, 2 + 2 * seed))
            array[:, :3, :6], array[:, -3:, :6] = 250, 50
        cases.append((array.astype(np.float32) * (seed + 1), mask))
    assert set(choose_intensities(seen(made(cases, modality="MR"))).value) == {expected}


@pytest.mark.parametrize(
    ("channel", "kind"), [("noNorm", "ranges"), ("rescale_to_0_1", "ranges"), ("zscore", "deviations")]
)
def test_names_of_nnunet_are_respected(channel: str, kind: str) -> None:
    random = np.random.default_rng(0)
    cases = [(random.uniform(0, 1, SHAPE).astype(np.float32), lungs(0)[1] // 2) for _ in range(3)]
    found = choose_intensities(seen(made(cases, modality="MR", channels=(channel,)))).value
    assert set(found) == {kind}
    if kind == "ranges":
        np.testing.assert_allclose(found["ranges"], [(0, 1)], atol=0.02)


@pytest.mark.parametrize(
    ("spacing", "orientation"),
    [
        ((5.0, 1.0, 1.0), "SLP"),
        ((1.0, 4.0, 1.0), "LPI"),
        ((1.0, 1.0, 2.0), "PLI"),
        ((1.0, 1.4, 1.0), "SLP"),
        ((2.5, 3.9, 3.9), "SLP"),  # two coarse axes: neither is that of the slices
        (None, "SLP"),
    ],
)
def test_slices_lie_along_the_coarsest_axis(spacing: tuple[float, float, float] | None, orientation: str) -> None:
    fingerprint = seen(made([lungs(0), lungs(1)], names=("a", "b"), spacing=spacing))
    assert choose_orientation(fingerprint).value == orientation


SIDES = ("right ball", "left ball")


@pytest.mark.parametrize(
    ("names", "dice", "orientation", "tried"),
    [
        (("a", "b"), {"SLP": 0.70, "PLI": 0.71, "LPI": 0.719}, "SLP", 3),  # within what seeds differ by
        (("a", "b"), {"SLP": 0.70, "PLI": 0.73, "LPI": 0.72}, "PLI", 3),
        (("a", "b"), {"SLP": 0.70, "PLI": 0.71, "LPI": 0.90}, "LPI", 3),
        (SIDES, {"SLP": 0.70, "PLI": 0.71, "LPI": 0.90}, "SLP", 2),  # left and right look alike in sagittal slices
        (("a", "b"), {"SLP": None, "PLI": None, "LPI": None}, "SLP", 3),
    ],
)
def test_another_plane_has_to_gain_two_points(names, dice, orientation, tried) -> None:
    fingerprint = seen(made([lungs(0), lungs(1)], names=names))
    asked: list[str] = []

    def dice_of(codes: str) -> float | None:
        asked.append(codes)
        return dice[codes]

    found = choose_plane(fingerprint, choose_orientation(fingerprint), dice_of)
    assert (found.value, len(asked)) == (orientation, tried)
    assert asked[0] == "SLP"
    shown = "no validation patient" if dice["SLP"] is None else "axial 0.700, coronal 0.7"
    assert shown in found.reason


def test_sagittal_scans_of_two_sides_come_with_a_warning() -> None:
    found = choose_orientation(seen(made([lungs(0), lungs(1)], names=SIDES, spacing=(1.0, 5.0, 1.0))))
    assert found.value == "LPI"
    assert "right ball and the other side look alike" in found.reason


def body(seed: int, *, side: int = 80, shift: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A body of 30 x 30 mm in air, with a structure near its middle."""
    array, mask = np.full((6, side, side), -1000, np.int16), np.zeros((6, side, side), np.uint8)
    first = 20 + seed + shift
    array[:, first : first + 30, first : first + 30] = 30
    mask[:, first + 10 : first + 18, first + 10 : first + 20] = 1
    return array, mask


def test_the_body_is_seen_where_that_saves_pixels_in_every_case() -> None:
    fingerprint = seen(made([body(seed) for seed in range(4)]))
    found = choose_field_of_view(fingerprint, "SLP")
    assert found.value == {"field_of_view": "body"}
    assert "38%" in found.reason
    full = body(0)
    full[0][:, :, :] = 30
    everywhere = seen(made([*(body(seed) for seed in range(4)), full]))
    assert choose_field_of_view(everywhere, "SLP").value == {}


def test_a_field_in_millimetres_keeps_one_scale_where_bodies_differ() -> None:
    cases = []
    for seed in range(9):
        array, mask = body(seed % 3)
        array[:, 18 - 2 * seed : 52 + 2 * seed, 20:50] = 30  # longer and longer
        cases.append((array, mask))
    found = choose_field_of_view(seen(made(cases)), "SLP").value
    assert found["field_of_view"] == "body"
    assert 10 < found["field_mm"] < 72
    assert choose_field_of_view(seen(made(cases[:5])), "SLP").value == {}  # too few to know what patients need


def test_no_structure_is_cut_off() -> None:
    array, mask = body(0)
    mask[:, 2:4, 2:4] = 1  # in the air
    found = choose_field_of_view(seen(made([body(1), (array, mask)])), "SLP")
    assert found.value == {}


def sides(seed: int, *, symmetric: bool) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.uint8)
    y = 20 + random.uniform(-2, 2)
    mask[ball(SHAPE, (12, 8, y), 5, SPACING)] = 1
    mask[ball(SHAPE, (12, 32, y), 5 if symmetric else 2.5, SPACING)] = 2
    mask[ball(SHAPE, (12, 20 if symmetric else 14, 34), 3, SPACING)] = 3
    return (mask * 100).astype(np.int16), mask


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("names", [("right eye", "left eye", "nose"), ("a", "b", "c")])
def test_left_and_right_are_exchanged_where_cases_are_symmetric(names: tuple[str, ...], symmetric: bool) -> None:
    data_set = made([sides(seed, symmetric=symmetric) for seed in range(6)], names=names, modality="MR")
    assert choose_mirror(seen(data_set)).value == (symmetric and names[0] == "right eye")


def test_what_dataset_json_says_of_mirroring_holds() -> None:
    data_set = made([sides(seed, symmetric=False) for seed in range(3)], names=("a", "b", "c"), modality="MR")
    stated = type(data_set)(**{**vars(data_set), "labels": data_set.labels.model_copy(update={"mirror": True})})
    assert choose_mirror(seen(stated)).value


@pytest.mark.parametrize(("width", "low", "high"), [(2, 2, 2), (4, 4, 4), (10, 9, 11)])
def test_the_width_of_a_band_is_measured(width: int, low: float, high: float) -> None:
    array, mask = np.zeros((3, 60, 60), np.int16), np.zeros((3, 60, 60), np.uint8)
    mask[:, 5:55, 20 : 20 + width] = 1
    shares = narrowest_shares(seen(made([(array, mask)])), "SLP", {})
    assert low * 0.9 <= 60 * shares["ball"] <= high * 1.1


WORKLOAD = Workload(slices=1000, validated=100, seconds=2000)


def size_for(
    pixels: int, workload: Workload = WORKLOAD, *, width: int = 4, pace: Pace = FAST, latency_ms: float | None = None
) -> tuple[int, str]:
    array, mask = np.zeros((2, pixels, pixels), np.int16), np.zeros((2, pixels, pixels), np.uint8)
    mask[:, 5:-5, 10 : 10 + width] = 1
    measured: list[int] = []

    def latency_of(size: int) -> float:
        measured.append(size)
        return (size / 64) ** 2

    found = choose_size(
        *(seen(made([(array, mask)])), "SLP", {}, workload),
        batch_size=24,
        pace=pace,
        latency_ms=latency_ms,
        latency_of=latency_of,
    )
    assert bool(measured) == (latency_ms is not None)
    return found.value, found.reason


def test_pixels_are_limited_by_the_scans_the_structures_the_time_and_the_latency() -> None:
    long = Workload(slices=1000, validated=100, seconds=1e5)
    assert size_for(256, long)[0] == 512
    assert size_for(32, long)[0] == 64
    assert size_for(31, long)[0] == 32
    assert size_for(40, long)[0] == 64  # twice as many as the scans have
    assert size_for(256, long, width=60)[0] == 96  # wide enough
    less = Workload(slices=1000, validated=100, seconds=200)
    assert size_for(256, less, width=20)[0] < 192
    assert "trained long enough" in size_for(256, less, width=20)[1]
    assert size_for(256, latency_ms=4.5)[0] == 128
    assert "4.00 ms per slice" in size_for(256, latency_ms=4.5)[1]
    assert "still too slow" in size_for(256, latency_ms=0.01)[1]


def test_thin_structures_get_pixels_before_passes_and_the_user_is_told() -> None:
    less = Workload(slices=1000, validated=0, seconds=200)
    thick, thin = size_for(256, less, width=20)[0], size_for(256, less, width=4)
    assert thin[0] > thick
    assert "less than 3 pixels wide, so do not expect much of them: ball" in size_for(512, less, width=2)[1]


def test_epochs_are_a_little_more_than_fill_the_time() -> None:
    work = Workload(slices=1000, validated=100, seconds=1000)
    epochs = choose_epochs(128, work, batch_size=24, pace=FAST).value
    spent = epochs.full * work.epoch_seconds(128, 24, FAST) + epochs.coarse * work.epoch_seconds(64, 24, FAST)
    assert 1.25 * work.seconds < spent <= 1.4 * work.seconds  # the clock ends a training
    assert epochs.coarse > epochs.full
    endless = Workload(slices=1000, validated=100, seconds=1e7)
    assert choose_epochs(128, endless, batch_size=24, pace=FAST).value.full == 300
    hardly = Workload(slices=100_000, validated=100, seconds=1)
    one = choose_epochs(128, hardly, batch_size=24, pace=FAST)
    assert one.value.full == 1
    assert one.reason.startswith("1 pass at 128 pixels, or as many")


@pytest.mark.parametrize(("slices", "batch"), [(1000, 24), (100, 12), (64, 8), (16, 4)])
def test_small_data_sets_get_small_batches(slices: int, batch: int) -> None:
    assert choose_batch_size(Workload(slices, 0, 60)).value == batch


def test_a_pace_goes_through_both_measurements() -> None:
    pace = Pace.through((64, 0.005), (128, 0.017))
    assert pace.seconds(64) == pytest.approx(0.005)
    assert pace.seconds(128) == pytest.approx(0.017)
    assert Pace.through((64, 0.02), (128, 0.01)).seconds(256) > 0  # a busy moment
