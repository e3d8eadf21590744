"""Every engine, and "auto", at every door that takes an engine's name."""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from artifact_fixtures import RunVerb, threshold_graph

import embedded_vit
from embedded_vit.benchmark import run as benchmark_run
from embedded_vit.cli.application import GROUPS
from embedded_vit.cli.options import EngineOption
from embedded_vit.compression.steps.backends import check_backends
from embedded_vit.costs.footprint import footprint
from embedded_vit.costs.fresh_process import in_fresh_process
from embedded_vit.costs.latency import paired_latency
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.engines import (
    ENGINES,
    EngineChoice,
    EngineName,
    engine_entry,
    fastest_engine,
    fastest_for_graph,
    installed_engines,
    load,
)
from embedded_vit.engines.registry import ENTRIES
from embedded_vit.evaluation.evaluating import evaluate
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.search import latency as search_latency
from embedded_vit.search.latency import LatencyMeter
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.training import plan

CT_32 = Preprocessing.for_modality("CT", image_size=32)


@pytest.fixture(scope="module", params=[*ENGINES, "auto"])
def choice(request: pytest.FixtureRequest) -> EngineChoice:
    """An engine as a user may write it; skips engines that are not installed."""
    if request.param not in (*installed_engines(), "auto"):
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def expected(choice: EngineChoice, artifact: Path) -> EngineName:
    """The engine that is expected to compute."""
    return fastest_engine(artifact, threads=1).engine if choice == "auto" else choice


def test_load(choice: EngineChoice, expected: EngineName, artifact: Path) -> None:
    assert load(artifact, choice, threads=1).name == expected


def test_prediction(choice: EngineChoice, expected: EngineName, artifact: Path) -> None:
    scan, _ = make_phantom(0, settings=PhantomSettings(size=64, slices=4))
    masks = [
        embedded_vit.load(artifact, engine, threads=1).predict(scan, force=True) for engine in (choice, "onnxruntime")
    ]
    assert masks[0].engine.startswith(f"{expected} ")
    labels = [np.stack([prediction.mask.get(index) for index in range(4)]) for prediction in masks]
    assert np.mean(labels[0] != labels[1]) < 1e-3


def test_evaluation(
    choice: EngineChoice, expected: EngineName, artifact: Path, synapse_folder: Path, tmp_path: Path
) -> None:
    evaluate(artifact, synapse_folder, output=tmp_path, threads=1, engine=choice)
    assert json.loads((tmp_path / "metrics.json").read_text())["model"]["computed_by"].startswith(f"{expected} ")


def test_benchmark(choice: EngineChoice, expected: EngineName, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_run, "PROCESS_STARTS", 1)
    [measurement] = benchmark_run.benchmark([artifact], threads=[1], engine=choice, seconds=0.1).measurements
    [timing] = measurement.timings
    assert timing.engine == expected
    assert timing.engine_version.startswith(engine_entry(expected).version)


def test_costs(choice: EngineChoice, artifact: Path) -> None:
    assert in_fresh_process(artifact, engine=choice).first_slice_ms > 0
    [latency] = paired_latency([artifact], engine=choice, repeats=3)
    assert latency.p50_ms > 0
    assert footprint(artifact, engine=choice).peak_memory_mib > 20


def test_the_search_s_meter(
    choice: EngineChoice, artifact: Path, synapse_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_latency, "onnx_graph", lambda *_: artifact.read_bytes())  # exporting takes seconds
    config = plan(
        open_data_set(synapse_folder),
        network=None,
        architecture={"image_size": 32, "widths": (16, 32)},
        training=TrainingConfig.for_recipe("modern"),
    )
    meter = LatencyMeter(config, choice, threads=1)
    assert meter.engine in installed_engines()
    assert choice in (meter.engine, "auto")
    assert 0.3 < meter.measure(config).ratio < 3  # the same network


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES[1:])  # tests/search has the default
def test_a_search_on_phantoms(name: EngineName, synapse_folder: Path, tmp_path: Path, run_verb: RunVerb) -> None:
    if name not in installed_engines():
        pytest.skip(f"{name} is not installed")
    options = "--budget latency_ms=1000 --trials 1 --epochs 1 --image-sizes 32 --context-slices 1 --threads 1"
    files = ("--data", synapse_folder, "--output", tmp_path / "search")
    status, _, told = run_verb("search", "--engine", name, *options.split(), *files)
    assert status == 0, told
    record = json.loads((tmp_path / "search" / "search.json").read_text())
    assert record["engine"] == record["settings"]["engine"] == name
    assert record["trials"][0]["state"] == "trained"
    assert record["trials"][0]["measured_ms"] > 0


def test_fastest_engine(choice: EngineChoice, artifact: Path) -> None:
    names = set(installed_engines()) if choice == "auto" else {choice}
    assert names <= set(fastest_engine(artifact, threads=1).latency_ms)
    assert names <= set(fastest_for_graph(threshold_graph().SerializeToString(), CT_32, threads=1).latency_ms)


def test_backends_of_a_compression(choice: EngineChoice) -> None:
    graph = threshold_graph().SerializeToString()
    images = list(np.random.default_rng(0).uniform(-1, 1, (2, 1, 1, 32, 32)).astype(np.float32))
    report = check_backends(graph, graph, images, precision="fp16")
    for name in installed_engines() if choice == "auto" else (choice,):
        assert {f"{name} fp32", f"{name} fp16"} <= set(report.latency_ms)
        if name != "onnxruntime":
            assert (report.engines[name].how, report.engines[name].disagreement) == ("as it is", 0)


def test_every_verb_with_an_engine_takes_all_of_them_and_auto() -> None:
    verbs = [verb for group in GROUPS.values() for verb in group]
    options = {
        verb: parameter
        for verb in verbs
        for parameter in inspect.signature(
            import_module(f"embedded_vit.cli.{verb}").command, eval_str=True
        ).parameters.values()
        if parameter.name == "engine"
    }
    assert set(options) >= {"predict", "evaluate", "benchmark", "search", "compress"}
    for parameter in options.values():
        assert (parameter.annotation, parameter.default) == (EngineOption, "onnxruntime")
    assert get_args(EngineChoice) == (*ENGINES, "auto")
    assert tuple(ENTRIES) == ENGINES
