"""The fastest engine is measured once, and an engine that cannot run the artifact is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from embedded_vit.engines import ArtifactEngine, fastest_engine, load
from embedded_vit.engines import fastest as module
from embedded_vit.errors import FileFormatError

MakeArtifact = Callable[..., Path]
P50_MS = {"onnxruntime": 4.0, "openvino": 3.0}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """A fake clock: OpenVINO takes 3 ms, ONNX Runtime 4. The list holds the engines of every measurement."""
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "installed_engines", lambda: tuple(P50_MS))
    calls: list[list[str]] = []

    def medians_ms(engines: Sequence[ArtifactEngine], image: object) -> list[float]:
        calls.append([engine.name for engine in engines])
        return [P50_MS[engine.name] for engine in engines]

    monkeypatch.setattr(module, "_medians_ms", medians_ms)
    return calls


def test_the_fastest_is_chosen_and_remembered(measured: list[list[str]], make_artifact: MakeArtifact) -> None:
    path = make_artifact()
    for _ in range(2):
        choice = fastest_engine(path, threads=1)
        assert (choice.engine, str(choice)) == ("openvino", "onnxruntime 4.0 ms, openvino 3.0 ms")
    assert measured == [["onnxruntime", "openvino"]]


def test_another_number_of_threads_is_measured_anew(measured: list[list[str]], make_artifact: MakeArtifact) -> None:
    path = make_artifact()
    fastest_engine(path, threads=1)
    fastest_engine(path, threads=2)
    assert len(measured) == 2


def test_an_engine_that_fails_is_left_out(
    measured: list[list[str]], make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, engine: str, **options: int) -> ArtifactEngine:
        if engine == "openvino":
            raise FileFormatError("openvino crashed on it")
        return load(path, "onnxruntime", **options)

    monkeypatch.setattr(module, "load_tried", fail)
    assert fastest_engine(make_artifact(), threads=1).latency_ms == {"onnxruntime": 4.0}


def test_what_is_no_artifact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no artifact")
    with pytest.raises(FileFormatError):
        fastest_engine(tmp_path / "model.onnx", threads=1)
