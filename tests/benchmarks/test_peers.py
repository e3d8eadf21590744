"""Peers on one split: equal time for all, nothing trained twice, one page."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from embedded_vit.compression.record import Measurements
from embedded_vit.costs.latency import Latency
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import make_split
from embedded_vit.errors import ConfigError
from embedded_vit.evaluation.scores import Scores
from embedded_vit.training.checkpoint import load_state, read_record

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("peers")


@pytest.fixture
def training(peers: ModuleType) -> ModuleType:
    return importlib.import_module("peer_training")


def test_every_network_trains_by_our_recipe_and_those_of_others_by_theirs(training: ModuleType) -> None:
    recipes = ["modern", "theirs"]
    assert [one.name for one in training.trainings_of("embedded-vit-64", recipes)] == ["embedded-vit-64@64-modern"]
    assert [one.name for one in training.trainings_of("32-80@128", recipes)] == ["32-80@128-modern"]
    assert [one.name for one in training.trainings_of("unet@64", recipes)] == ["unet@64-modern", "unet@64-theirs"]
    assert [one.name for one in training.trainings_of("dae-former-224@64", ["theirs"])] == ["dae-former-224@64-theirs"]


def test_ablations_and_pruned_networks_have_names(training: ModuleType) -> None:
    [without] = training.trainings_of("hybrid-s,depth=0", ["modern"])
    assert without.architecture == {"image_size": 128, "depth": 0}
    [other] = training.trainings_of("hybrid-s,coarsest=convolutions@64", ["modern"])
    assert other.architecture == {"image_size": 64, "coarsest": "convolutions"}
    [pruned] = training.trainings_of("unet-32,latency=0.4@64", ["modern"])
    assert (pruned.latency_left, pruned.whole.network, pruned.is_ours) == (0.4, "unet-32", False)
    assert pruned.architecture == pruned.whole.architecture == {"image_size": 64}


@pytest.mark.parametrize(
    "text", ["unett@64", "unet", "unet@big", "32@64", "32-80", "unet-32,latency=2@64", "unet-32,latency=0@64"]
)
def test_a_name_that_says_too_little_is_refused(training: ModuleType, text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("@")[0]):
        training.trainings_of(text, ["modern"])


@pytest.mark.parametrize("seconds_a_step", [0.05, 0.7, 3.1, 17.0])
def test_the_time_is_filled_and_not_exceeded(training: ModuleType, seconds_a_step: float) -> None:
    schedule = training.schedule_within(8, seconds_a_step, 55)
    steps = schedule.epochs * schedule.steps_per_epoch
    assert 480 - (schedule.epochs + 1) * seconds_a_step < steps * seconds_a_step <= 480
    assert schedule.passes == pytest.approx(steps / 55)
    assert schedule.epochs == max(1, round(480 / seconds_a_step / 55))


def test_a_peer_trains_by_the_recipe_of_its_authors(training: ModuleType, synapse_folder: Path, tmp_path: Path) -> None:
    data_set = open_data_set(synapse_folder)
    split = make_split(data_set, seed=0, validation_cases=0)
    comparison = training.Comparison(data_set, split, tmp_path, 8.0, 0, 3, "fp32", 0)
    dae_former = training.planned(training.PeerTraining("dae-former-224", 64, "theirs"), comparison)
    assert (dae_former.network.image_size, dae_former.network.widths) == (64, (128, 320, 512))
    assert dae_former.training.recipe == "paper"
    unet = training.planned(training.PeerTraining("unet", 64, "theirs"), comparison)
    assert (unet.training.learning_rate, unet.training.weight_decay, unet.training.ema_decay) == (1e-3, 0, None)
    assert training.planned(training.PeerTraining("unet", 64, "modern"), comparison).training.ema_decay is not None


@pytest.mark.slow
def test_what_is_trained_is_not_trained_again(
    peers: ModuleType,
    training: ModuleType,
    synapse_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "TIMED_SECONDS", 0.1)
    measure = training.seconds_a_step
    monkeypatch.setattr(training, "seconds_a_step", lambda *comparison: 0.39 if measure(*comparison) > 0 else 0.0)
    words = ["--data", str(synapse_folder), "--output", str(tmp_path), "--networks", "8-16@32", "--repeats", "3"]
    peers.main([*words, "--minutes", "0.02"])
    run = tmp_path / "8-16@32-modern"
    schedule = json.loads((run / "schedule.json").read_text())
    assert schedule["steps_per_epoch"] < schedule["steps_of_a_pass"]  # 3 steps, a pass has 2: they go into 2 epochs
    tensors, _ = load_state(run)
    assert int(tensors["optimizer.0.step"]) == schedule["epochs"] * schedule["steps_per_epoch"]
    assert len(read_record(run).epochs) == schedule["epochs"]
    [row] = json.loads((tmp_path / "peers.json").read_text())["rows"]
    assert row["measured"]["test"]["cases"] == 2
    assert set(row["latency"]["ONNX Runtime"]) == {"1", "2"}
    assert "| 1 | 8-16@32-modern |" in (tmp_path / "peers.md").read_text()
    page = (tmp_path / "peers.html").read_text()
    assert "Dice against latency: ONNX Runtime, threads: 2" in page
    assert "Research use only" in page

    trained = {name: (run / name).stat().st_mtime_ns for name in ("model.safetensors", "model.onnx", "schedule.json")}
    peers.main([*words, "--minutes", "0.02"])
    assert trained == {name: (run / name).stat().st_mtime_ns for name in trained}
    with pytest.raises(ConfigError, match="every network failed"):
        peers.main([*words, "--minutes", "0.03"])  # another time is another comparison


def result(peers: ModuleType, name: str, dice: float, latency_ms: dict[str, float]) -> object:
    measured = Measurements(
        validation=None,
        test=Scores(dice=dice, jaccard=0.5, hd95=9, nsd=0.4, unit="mm", cases=2, organs={"liver": dice, "aorta": None}),
        macs=10**6,
        parameters=1000,
        nonzero_parameters=1000,
        file_bytes=4000,
        deflated_bytes=3000,
        latency_ms={"1": 1.0, "2": 1.0},
        peak_memory_mib=90,
    )
    latency = {
        title: {"1": Latency(value, value, 3), "2": Latency(value, value, 3)} for title, value in latency_ms.items()
    }
    return peers.Result(Path(name), 2.0, measured, latency)


def test_a_file_that_a_backend_cannot_run_is_missing_from_its_plot_alone(
    peers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer_results = importlib.import_module("peer_results")
    backends = [peer_results.Backend("ONNX Runtime", "onnxruntime"), peer_results.Backend("OpenVINO f32", "openvino")]
    monkeypatch.setattr(peer_results, "backends", lambda: backends)
    results = [
        result(peers, "a", 0.5, {"ONNX Runtime": 1.0}),
        result(peers, "b", 0.7, {"ONNX Runtime": 2.0, "OpenVINO f32": 1.5}),
        result(peers, "c", 0.6, {"ONNX Runtime": 3.0, "OpenVINO f32": 1.0}),
    ]
    rows = [peer_results.report_row(one) for one in results]
    plots = peer_results.plots_for(results, rows)
    assert [plot.title for plot in plots[::2]] == [
        "Dice against latency: ONNX Runtime, threads: 1",
        "Dice against latency: OpenVINO f32, threads: 1",
        "Dice against MACs",
    ]
    assert {point.label for point in plots[2].points} == {"2", "3"}
    fronts = peer_results.fronts(plots)
    assert fronts[0].endswith("rows 1, 2.")
    assert fronts[2].endswith("rows 3, 2.")
    cells = {column.title: [column.value(row) for row in rows] for column in peer_results.columns_of(results)[3:]}
    assert cells["OpenVINO f32, 1 / 2 threads (ms)"] == ["–", "1.50 / 1.50", "1.00 / 1.00"]
    assert cells["Worst organ"] == ["liver 0.50", "liver 0.70", "liver 0.60"]
