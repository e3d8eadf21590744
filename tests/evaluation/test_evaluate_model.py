"""From the command line to the files, with a real network as a run folder and as an artifact."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from artifact_fixtures import RunVerb

from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import make_split
from embedded_vit.errors import ConfigError
from embedded_vit.evaluation.evaluating import METRICS_FILE, evaluate, evaluate_once
from embedded_vit.evaluation.scores import Scores

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, synapse_folder: Path) -> Path:
    """A run of a small network that was never trained, on the phantom data set."""
    from embedded_vit.models.registry import build_network, network_config
    from embedded_vit.preprocessing import Preprocessing
    from embedded_vit.training.checkpoint import TrainingRecord, save_checkpoint
    from embedded_vit.training.settings import RunConfig, TrainingConfig

    data_set = open_data_set(synapse_folder)
    torch.manual_seed(0)
    network = network_config(classes=data_set.labels.classes, image_size=32, family="hybrid", widths=(16, 32), depth=1)
    config = RunConfig(
        network=network,
        preprocessing=Preprocessing.for_modality("CT", image_size=32),
        labels=data_set.labels,
        training=TrainingConfig.for_recipe("modern"),
    )
    record = TrainingRecord(
        data_folder=str(synapse_folder), data_fingerprint="0" * 64, split=make_split(data_set, seed=0)
    )
    folder = tmp_path_factory.mktemp("runs") / "run"
    save_checkpoint(folder, build_network(network).state_dict(), config, record)
    return folder


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, run_folder: Path, synapse_folder: Path) -> Path:
    """The same network as an artifact."""
    pytest.importorskip("onnxscript")
    from embedded_vit.export.exporting import export

    path = tmp_path_factory.mktemp("artifacts") / "model.onnx"
    export(run_folder, path, data_folder=synapse_folder)
    return path


def dice_of(output: Path) -> list[float]:
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    return [score["dice"] for case in metrics["cases"].values() for score in case["organs"].values()]


def test_the_command_writes_three_files_and_ends_with_the_table(
    run_folder: Path, synapse_folder: Path, tmp_path: Path, run_verb: RunVerb
) -> None:
    output = tmp_path / "evaluation"
    options = ("--data", synapse_folder, "--output", output, "--threads", 1)
    status, shown, told = run_verb("evaluate", run_folder, *options)
    assert status == 0, told
    assert {path.name for path in output.iterdir()} == {"cases.csv", "metrics.json", "report.html"}
    assert "split test, protocol strict" in shown
    assert "gallbladder" in shown
    assert shown.rstrip().endswith(f"report: {output / 'report.html'}")
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["cases"]) == {"case0005", "case0006"}
    assert {case["subset"] for case in metrics["cases"].values()} == {"test"}


def test_a_second_evaluation_into_the_same_folder_is_one_line_and_status_2(
    run_folder: Path, synapse_folder: Path, tmp_path: Path, run_verb: RunVerb
) -> None:
    (tmp_path / "report.html").write_text("kept")
    status, _, told = run_verb("evaluate", run_folder, "--data", synapse_folder, "--output", tmp_path)
    assert status == 2
    assert told.count("\n") == 1
    assert "report.html" in told


@pytest.mark.parametrize("protocol", ["strict", "transunet"])
def test_run_folder_and_artifact_score_the_same(
    run_folder: Path, artifact: Path, synapse_folder: Path, tmp_path: Path, protocol: str
) -> None:
    for model, name in ((run_folder, "run"), (artifact, "artifact")):
        evaluate(model, synapse_folder, output=tmp_path / name, protocol=protocol, threads=1)
    of_run, of_artifact = (np.array(dice_of(tmp_path / name), float) for name in ("run", "artifact"))
    assert (of_run > 0).any()
    np.testing.assert_allclose(of_run, of_artifact, atol=2e-3)


def test_an_artifact_is_scored_in_the_engine_asked_for(artifact: Path, synapse_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    for engine in ("onnxruntime", "openvino"):
        evaluate(artifact, synapse_folder, output=tmp_path / engine, threads=1, engine=engine)
        metrics = json.loads((tmp_path / engine / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["model"]["computed_by"].startswith(f"{engine} ")
        assert metrics["model"]["computed_by"] in (tmp_path / engine / "report.html").read_text(encoding="utf-8")
    of_default, of_other = (np.array(dice_of(tmp_path / engine), float) for engine in ("onnxruntime", "openvino"))
    np.testing.assert_allclose(of_default, of_other, atol=2e-3)


def test_a_run_folder_has_no_engine(run_folder: Path, synapse_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="export it"):
        evaluate(run_folder, synapse_folder, output=tmp_path, threads=1, engine="openvino")


def test_an_evaluation_is_kept_until_the_model_or_a_file_changes(
    run_folder: Path, synapse_folder: Path, tmp_path: Path
) -> None:
    import h5py
    from safetensors.torch import load_file, save_file

    data, run = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in (synapse_folder, run_folder))
    output = tmp_path / "evaluation"

    def written() -> int:
        evaluate_once(run, data, output, threads=1)
        return (output / METRICS_FILE).stat().st_mtime_ns

    first = written()
    assert written() == first
    with h5py.File(min((data / "test_vol_h5").iterdir()), "r+") as file:
        file["label"][...] = np.roll(file["label"][...], 5, axis=1)
    second = written()
    assert second != first
    assert written() == second
    weights = load_file(run / "model.safetensors")
    save_file({name: tensor + 0.01 for name, tensor in weights.items()}, run / "model.safetensors")
    assert written() != second


def test_scores_know_the_files_they_are_of(run_folder: Path, synapse_folder: Path, tmp_path: Path) -> None:
    import h5py

    data = Path(shutil.copytree(synapse_folder, tmp_path / "data"))
    scores = Scores.of(evaluate(run_folder, data, output=tmp_path / "out", threads=1))
    assert scores.are_of(data)
    assert scores.are_of(synapse_folder)
    with h5py.File(max((data / "test_vol_h5").iterdir()), "r+") as file:
        file["image"][...] *= 0.5
    assert not scores.are_of(data)
    assert scores.model_copy(update={"files_sha256": ""}).are_of(data)  # older ones do not say


def test_an_unlabelled_and_a_damaged_test_case_leave_the_rest(
    artifact: Path, synapse_folder: Path, tmp_path: Path, run_verb: RunVerb
) -> None:
    data = Path(shutil.copytree(synapse_folder, tmp_path / "data"))
    path = max((data / "test_vol_h5").iterdir())
    path.write_bytes(path.read_bytes()[:2000])
    status, shown, told = run_verb("evaluate", artifact, "--data", data, "--output", tmp_path / "out")
    assert status == 2
    assert told.splitlines()[-1] == "embedded-vit: 1 of 2 cases scored; without case0006"
    assert "Not scored: case0006" in shown
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(metrics["cases"]) == ["case0005"]
    assert list(metrics["unscored"]) == ["case0006"]
