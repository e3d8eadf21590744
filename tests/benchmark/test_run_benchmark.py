from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from accuracy_artifacts import organ_graph
from artifact_fixtures import RunVerb, threshold_graph

from embedded_vit.benchmark import run
from embedded_vit.benchmark.queries import Scope
from embedded_vit.benchmark.result_file import read_result
from embedded_vit.costs.fresh_process import FreshProcess
from embedded_vit.datasets import open_data_set
from embedded_vit.engines import ArtifactEngine, load
from embedded_vit.engines.single_stream import Query, Stream
from embedded_vit.errors import ConfigError, FileFormatError
from embedded_vit.preprocessing import Preprocessing

PROCESS = FreshProcess(import_ms=300, load_ms=50, first_slice_ms=40, peak_memory_mib=100)


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without load, where no process is started: 400 queries per model, of 20 and 10 ms."""

    def stream(queries: Sequence[Query], **_: object) -> Stream:
        for query in queries:
            query()
        latencies_ms = np.random.default_rng(0).normal([20.0, 10.0], 0.1, (400, 2))[:, : len(queries)]
        return Stream(latencies_ms, "queries", 12.0)

    monkeypatch.setattr(run, "single_stream", stream)
    monkeypatch.setattr(run, "load_average", lambda: 0.1)
    monkeypatch.setattr(run, "available_cores", lambda: 2)
    monkeypatch.setattr(run.CoreTimes, "now", lambda: None)
    monkeypatch.setattr(run, "in_fresh_process", lambda path, **_: PROCESS)


@pytest.mark.usefixtures("quiet_machine")
def test_a_quiet_machine_gives_trusted_figures_of_both_models(make_artifact: Callable[..., Path]) -> None:
    small = make_artifact()
    large = make_artifact(
        threshold_graph(size=64), "large.onnx", preprocessing=Preprocessing.for_modality("CT", image_size=64)
    )
    result = run.benchmark([small, large], threads=[1, 2])
    assert [measurement.threads for measurement in result.measurements] == [1, 2]
    for measurement in result.measurements:
        assert (measurement.trusted, measurement.distrust_reasons) == (True, ())
        assert [timing.latency.queries for timing in measurement.timings] == [400, 400]
        assert [timing.latency.p50_ms for timing in measurement.timings] == [
            pytest.approx(20, abs=0.1),
            pytest.approx(10, abs=0.1),
        ]
        assert measurement.comparison is not None
        assert (measurement.comparison.wins, measurement.comparison.median) == (400, pytest.approx(2, rel=0.01))
        assert measurement.timings[0].fresh_process == PROCESS
    assert [model.file_bytes for model in result.models] == [small.stat().st_size, large.stat().st_size]
    assert [model.macs for model in result.models] == [0, 0]  # nothing is multiplied with weights
    assert result.accuracy is None


@pytest.mark.usefixtures("quiet_machine")
def test_a_loaded_machine_is_refused_with_the_reason(
    make_artifact: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "load_average", lambda: 7.5)
    [measurement] = run.benchmark([make_artifact()], threads=[1]).measurements
    assert not measurement.trusted
    assert measurement.comparison is None
    assert "load average was 7.50" in measurement.distrust_reasons[0]


@pytest.mark.usefixtures("quiet_machine")
def test_more_threads_than_cores_are_refused(make_artifact: Callable[..., Path]) -> None:
    [measurement] = run.benchmark([make_artifact()], threads=[3]).measurements
    assert measurement.distrust_reasons == ("3 threads on 2 cores wait for each other",)


@pytest.mark.usefixtures("quiet_machine")
@pytest.mark.parametrize(("scope", "streams"), [("network", 1), ("volume", 2)])
def test_threads_and_engine_reach_what_is_measured(
    scope: Scope, streams: int, make_artifact: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []

    def load_and_note(path: Path, engine: str, *, threads: int, streams: int) -> ArtifactEngine:
        asked.append((engine, threads, streams))
        return load(path, threads=threads, streams=streams)

    monkeypatch.setattr(run, "load", load_and_note)
    run.benchmark([make_artifact()], threads=[1, 2], engine="openvino", scope=scope, seconds=0.05)
    assert asked == [("openvino", 1, 1), ("openvino", 2, streams)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 0}, "seconds must be above 0, got 0"),
        ({"seconds": float("nan")}, "seconds must be above 0"),
        ({"threads": [1, 0]}, "threads must be at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(make_artifact: Callable[..., Path], options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run.benchmark([make_artifact()], **options)


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    for name in ("model.onnx", "missing.onnx"):
        with pytest.raises(FileFormatError, match=name):
            run.benchmark([tmp_path / name])


def test_the_command_measures_two_models_with_accuracy(
    make_artifact: Callable[..., Path], synapse_folder: Path, tmp_path: Path, run_verb: RunVerb
) -> None:
    labels = open_data_set(synapse_folder).labels
    models = [make_artifact(organ_graph(), f"{letter}.onnx", labels=labels) for letter in "ab"]
    output = tmp_path / "out" / "bench.json"
    options = ["--threads", 1, "--scope", "slice", "--seconds", 0.05, "--data", synapse_folder, "--output", output]
    status, shown, told = run_verb("benchmark", *models, *options)
    assert status == 0, told
    assert "B keeps 100.00% of A's Dice: gate of 99 % passed, gate of 99.9 % passed" in shown
    result = read_result(output)
    [measurement] = result.measurements
    assert measurement.timings[0].latency.queries == measurement.timings[1].latency.queries >= 3
    assert measurement.timings[0].fresh_process.peak_memory_mib > 20
    assert "12 x 96 x 96" in result.input
    assert output.with_suffix(".png").is_file()
    assert json.loads(output.read_text())["use"].startswith("Research use only")

    status, _, told = run_verb("benchmark", *models, *options)
    assert status == 2
    assert "exists already" in told
    assert len(told.splitlines()) == 1


WITHOUT_THE_TRAIN_EXTRA = """
import sys
for library in ("torch", "scipy", "matplotlib", "onnx", "safetensors", "tensorboard", "jinja2", "yaml"):
    sys.modules[library] = None
from embedded_vit.cli import main
main()
"""


def test_a_device_without_the_train_extra_measures_and_only_misses_the_plot(
    make_artifact: Callable[..., Path], synapse_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "bench.json"
    arguments = ["benchmark", make_artifact(), "--threads", "1", "--seconds", "0.05", "--output", output]
    python = [sys.executable, "-c", WITHOUT_THE_TRAIN_EXTRA]
    done = subprocess.run([*python, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no plot, as matplotlib is not installed" in done.stdout
    assert read_result(output).measurements[0].threads == 1

    arguments = [*arguments, "--overwrite", "--data", synapse_folder]
    refused = subprocess.run([*python, *arguments], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "embedded-vit[train]" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
