"""One suite that every engine passes, at every door that takes an engine's name."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from artifact_fixtures import threshold_graph
from onnx import numpy_helper

from embedded_vit.engines import (
    ENGINES,
    ArtifactEngine,
    EngineName,
    GraphEngine,
    agreement,
    engine_entry,
    installed_engines,
    load,
    open_graph,
    trial,
)
from embedded_vit.engines.agreement import label_disagreement
from embedded_vit.engines.engine import Tensor
from embedded_vit.engines.example_inputs import soft_images
from embedded_vit.errors import ConfigError, FileFormatError

USES_NO_MORE = """
import sys, time, numpy
from embedded_vit.engines import load
path, name, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
engine = load(path, name, threads=threads)
size, channels = engine.manifest.preprocessing.image_size, engine.manifest.preprocessing.input_channels
image = numpy.zeros((1, channels, size, size), numpy.float32)
engine.run(image)
wall, processor = time.perf_counter(), time.process_time()
for _ in range(40):
    engine.run(image)
print((time.process_time() - processor) / (time.perf_counter() - wall))
"""


@pytest.fixture(scope="module", params=ENGINES)
def name(request: pytest.FixtureRequest) -> EngineName:
    """Each engine's name; skips those that are not installed."""
    if request.param not in installed_engines():
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def engine(name: EngineName, artifact: Path) -> ArtifactEngine:
    """The artifact in each engine."""
    return load(artifact, name, threads=1)


def test_labels_are_those_of_onnx_runtime(engine: ArtifactEngine, artifact: Path) -> None:
    for image in soft_images(1, engine.manifest.preprocessing.image_size):
        expected = load(artifact, threads=1).run(image)
        np.testing.assert_allclose(engine.run(image), expected, atol=1e-4)


def test_a_call_changes_nothing_for_the_next(engine: ArtifactEngine) -> None:
    first_image, second_image, _ = soft_images(1, engine.manifest.preprocessing.image_size)
    first = engine.run(first_image)
    second = engine.run(second_image)
    np.testing.assert_array_equal(engine.run(first_image), first)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_is_its_images(engine: ArtifactEngine, count: int) -> None:
    images = soft_images(1, engine.manifest.preprocessing.image_size)[:count]
    expected = np.concatenate([engine.run(image) for image in images])
    np.testing.assert_allclose(engine.run(np.concatenate(images)), expected, atol=1e-5)


def test_several_callers_at_once_get_their_own_logits(engine: ArtifactEngine) -> None:
    images = soft_images(1, engine.manifest.preprocessing.image_size) * 20
    expected = [engine.run(image) for image in images]
    with ThreadPoolExecutor(4) as callers:
        for logits, own in zip(callers.map(engine.run, images), expected, strict=True):
            np.testing.assert_array_equal(logits, own)


def test_streams_answer_as_one_does(name: EngineName, engine: ArtifactEngine, artifact: Path) -> None:
    images = soft_images(1, engine.manifest.preprocessing.image_size) * 20
    two = load(artifact, name, threads=2, streams=2)
    assert (engine.streams, two.streams) == (1, 2)
    with ThreadPoolExecutor(4) as callers:
        for logits, image in zip(callers.map(two.run, images), images, strict=True):
            np.testing.assert_array_equal(logits, engine.run(image))


@pytest.mark.parametrize("streams", [0, 3])
def test_streams_that_have_no_thread_are_refused(artifact: Path, streams: int) -> None:
    with pytest.raises(ConfigError, match=f"streams must be 1 to the number of threads, got {streams}"):
        load(artifact, threads=2, streams=streams)


def test_it_says_what_it_is(engine: ArtifactEngine, name: EngineName) -> None:
    assert engine.name == name
    assert engine.version[0].isdigit()


def test_one_thread_uses_one_core(name: EngineName, artifact: Path) -> None:
    command = [sys.executable, "-c", USES_NO_MORE, str(artifact), name, "1"]
    cores = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    assert cores < 1.2


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_truncated_artifact_is_refused_in_one_line(
    name: EngineName, artifact: Path, tmp_path: Path, kept: int
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(artifact.read_bytes()[:kept])
    with pytest.raises(FileFormatError) as caught:
        load(broken, name)
    assert "\n" not in str(caught.value)


def test_the_registry_and_the_engine_say_the_same(name: EngineName, engine: ArtifactEngine) -> None:
    entry = engine_entry(name)
    assert entry.is_installed
    assert engine.version.startswith(entry.version)
    assert open_graph(threshold_graph().SerializeToString(), name).title == entry.title


def test_a_graph_is_opened_without_a_manifest(name: EngineName) -> None:
    graph = open_graph(threshold_graph().SerializeToString(), name, threads=2, streams=2, source="a graph")
    image = np.random.default_rng(0).uniform(-1, 1, (2, 1, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(graph.run(image), np.concatenate([-image, image], axis=1))
    assert (graph.streams, graph.inputs, graph.outputs) == (
        2,
        [Tensor("float32", (1, 1, 32, 32))],
        [Tensor("float32", (1, 2, 32, 32))],
    )


def test_an_input_that_is_not_contiguous_or_not_float32_is_taken(name: EngineName) -> None:
    graph = open_graph(threshold_graph().SerializeToString(), name, threads=1)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 1, 32, 32))
    np.testing.assert_array_equal(graph.run(image.swapaxes(2, 3))[:, 1:], image.astype(np.float32).swapaxes(2, 3))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(name: EngineName, value: float) -> None:
    """Argmax calls NaN background: a damaged network would segment nothing, and say nothing."""
    model = threshold_graph()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([value], np.float32), "minus_one"))
    with pytest.raises(FileFormatError, match="answers NaN or infinity"):
        open_graph(model.SerializeToString(), name, threads=1).run(np.ones((1, 1, 32, 32), np.float32))


def test_what_is_not_a_graph_is_refused_in_one_line(name: EngineName) -> None:
    with pytest.raises(FileFormatError, match=f"model.onnx: {engine_entry(name).title} cannot load it: ") as caught:
        open_graph(b"not a graph", name, source="model.onnx")
    assert "\n" not in str(caught.value)


def test_an_engine_that_is_not_installed_says_how_to_install_it(
    name: EngineName, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, engine_entry(name).library, None)
    assert name not in installed_engines()
    with pytest.raises(ConfigError, match=rf"{engine_entry(name).title} is not installed.*embedded-vit\[{name}\]"):
        open_graph(artifact.read_bytes(), name)
    with pytest.raises(ConfigError, match=rf"embedded-vit\[{name}\]"):
        load(artifact, name)


def test_an_engine_that_crashes_is_refused_and_remembered(monkeypatch: pytest.MonkeyPatch, artifact: Path) -> None:
    pytest.importorskip("openvino")
    crash = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    tries = []

    def crashes(command: list[str], **options: object) -> subprocess.CompletedProcess:
        tries.append(command)
        return run(crash, **options)

    run = subprocess.run
    monkeypatch.setattr(trial.subprocess, "run", crashes)
    monkeypatch.setenv("XDG_CACHE_HOME", str(artifact.parent / "crashed"))
    for _ in range(2):
        with pytest.raises(
            FileFormatError, match=r"openvino crashed on it \(exit status -11\); use --engine onnxruntime"
        ):
            load(artifact, "openvino")
    assert len(tries) == 1


def test_an_engine_that_gives_other_labels_is_refused(monkeypatch: pytest.MonkeyPatch, artifact: Path) -> None:
    class Inverting:
        def __init__(self, graph: GraphEngine) -> None:
            self.graph = graph

        def run(self, image: np.ndarray) -> np.ndarray:
            return -self.graph.run(image)

    monkeypatch.setattr(agreement, "open_graph", lambda graph, name, **options: Inverting(open_graph(graph, **options)))
    assert "another label than ONNX Runtime" in trial.try_here(artifact, "openvino").failure


def test_only_decided_pixels_are_compared_where_there_are_any() -> None:
    expected = np.array([[[[0.0, 0.0, 0.0, 0.2]], [[3.0, 2.0, 0.5, 0.0]]]], dtype=np.float32)  # (1, K, 1, 4)
    undecided, decided = expected.copy(), expected.copy()
    undecided[0, 0, 0, 2], decided[0, 0, 0, 1] = 1, 5
    assert label_disagreement(undecided, expected, decided_only=True) == 0
    assert label_disagreement(decided, expected, decided_only=True) == 1 / 2
    assert label_disagreement(-expected[..., 2:], expected[..., 2:], decided_only=True) == 1
    assert label_disagreement(undecided, expected) == label_disagreement(decided, expected) == 1 / 4


def test_an_unknown_engine_is_refused(artifact: Path) -> None:
    known = "expected one of onnxruntime, openvino, litert"
    with pytest.raises(ConfigError, match=f"unknown engine 'tensorrt', {known}, auto"):
        load(artifact, "tensorrt")
    with pytest.raises(ConfigError, match=f"unknown engine 'auto', {known}$"):
        open_graph(artifact.read_bytes(), "auto")
