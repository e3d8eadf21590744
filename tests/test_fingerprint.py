"""The intensity fingerprint: other orders of channels and other contrasts are noticed, like scans are not."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedded_vit.contract import Contract
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import make_split
from embedded_vit.fingerprint import IntensityFingerprint, fingerprint_mismatches, sampled, scan_brightness
from embedded_vit.labels import LabelSet
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import read_run_config
from embedded_vit.training.run import open_run
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.slices import prepare_slices
from embedded_vit.training.training import plan
from embedded_vit.volume import Volume

CHANNELS = ("T1", "T2", "FLAIR")
MR = Preprocessing.for_modality("MR", channels=CHANNELS, image_size=32)
POWERS = (0.5, 1.0, 2.5)  # of the same tissue's brightness, in the three channels


def scan(seed: int, powers: tuple[float, ...] = POWERS, spread: float = 0.05) -> Volume:
    """A head of random tissue in black air; every scan has another scale, as MR has."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :40] / 19.5 - 1
    head = rows**2 + columns**2 < 0.7
    tissue = np.clip(rng.uniform(0, 1, (10, 40, 40)) + spread * rng.standard_normal(), 0.01, 1)
    channels = [head * tissue**power * rng.uniform(300, 3000) for power in powers]
    affine = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    return Volume(np.stack(channels).astype(np.float32), affine, source=f"scan {seed}")


@pytest.fixture(scope="module")
def contract() -> Contract:
    found = IntensityFingerprint.of(scan_brightness(scan(seed), MR) for seed in range(8))
    return Contract(preprocessing=MR, labels=LabelSet.from_names(["tumour"]), intensities=found)


@pytest.mark.parametrize("seed", range(100, 130))
def test_a_scan_like_those_of_the_training_raises_no_doubt(contract: Contract, seed: int) -> None:
    assert contract.doubts(scan(seed)) == []


@pytest.mark.parametrize("order", [order for order in permutations(range(3)) if order != (0, 1, 2)], ids=str)
def test_another_order_of_the_channels_is_noticed_and_the_right_one_named(
    contract: Contract, order: tuple[int, ...]
) -> None:
    doubts = contract.doubts(scan(200, tuple(POWERS[place] for place in order)))
    came = ", ".join(CHANNELS[place] for place in order)
    assert len(doubts) == 1
    assert doubts[0] == f"the channels look as if they came as {came} and not as T1, T2, FLAIR; check their order"


def test_the_same_whatever_the_orientation(contract: Contract) -> None:
    assert contract.doubts(scan(200, POWERS[::-1]).reoriented("RAS")) == contract.doubts(scan(200, POWERS[::-1]))


def test_another_contrast_and_a_black_channel_are_noticed(contract: Contract) -> None:
    (doubt,) = contract.doubts(scan(200, (0.5, 1.0, 0.05)))
    assert "channel FLAIR is brighter or of another contrast" in doubt
    black = scan(200)
    black.array[1] = 0
    assert contract.doubts(black) == ["channel T2 is black: it holds nothing but the darkest intensity"]


def test_without_a_fingerprint_there_is_no_doubt(contract: Contract) -> None:
    older = contract.model_copy(update={"intensities": None})
    assert older.doubts(scan(200, POWERS[::-1])) == []


def test_black_scans_do_not_count() -> None:
    nothing: NDArray[np.float64] = np.full((3, 5), np.nan)
    assert IntensityFingerprint.of([nothing]) is None
    values = np.full((3, 5), 0.5)
    found = IntensityFingerprint.of([nothing, values])
    assert found is not None
    assert found.mean == ((0.5,) * 5,) * 3
    assert fingerprint_mismatches(found, values, CHANNELS) == []


def test_at_most_sixteen_slices_are_measured() -> None:
    assert sampled(3).tolist() == [0, 1, 2]
    assert len(sampled(500)) == 16
    assert (sampled(500)[0], sampled(500)[-1]) == (0, 499)


def test_a_training_keeps_the_fingerprint_of_its_training_cases(nnunet_folder: Path, tmp_path: Path) -> None:
    data_set = open_data_set(nnunet_folder)
    split = make_split(data_set, seed=0, validation_cases=0)
    config = plan(
        data_set,
        network=None,
        architecture={"image_size": 32, "widths": (8, 16), "depth": 1},
        training=TrainingConfig.for_recipe("modern", epochs=1),
    )
    slices = prepare_slices(data_set, split.train, config.preprocessing, tmp_path / "cache")
    open_run(tmp_path / "run", config, slices, split, data_folder=data_set.folder)
    contract = read_run_config(tmp_path / "run").contract
    volumes = [data_set.read_volume(data_set.case(name)) for name in split.train]
    expected = IntensityFingerprint.of(scan_brightness(volume, config.preprocessing) for volume in volumes)
    assert contract.intensities is not None
    assert expected is not None
    np.testing.assert_allclose(contract.intensities.mean, expected.mean, atol=2e-3)  # half precision on disk
    assert all(contract.doubts(volume) == [] for volume in volumes)
