"""A graph must give the same labels twice, and in every backend."""

from __future__ import annotations

import numpy as np
import pytest
from artifact_fixtures import threshold_graph

from embedded_vit.compression.steps import backends
from embedded_vit.compression.steps.backends import check_backends
from embedded_vit.engines import GraphEngine, agreement, installed_engines, open_graph
from embedded_vit.errors import ContractError

GRAPH = threshold_graph().SerializeToString()
IMAGES = list(np.random.default_rng(0).uniform(-1, 1, (3, 1, 1, 32, 32)).astype(np.float32))


class Inverting:
    """An engine that gives every pixel another label while low-precision transforms are on."""

    def __init__(self, graph: bytes, *, threads: int, wrong: bool) -> None:
        self.engine, self.wrong = open_graph(graph, threads=threads), wrong

    def run(self, image_bchw):
        return self.engine.run(image_bchw) * (-1 if self.wrong else 1)


@pytest.fixture
def openvino_that_is_wrong(monkeypatch):
    """Replace OpenVINO by `Inverting`."""

    def replace(*, wrong_without_transforms: bool) -> None:
        def opened(graph: bytes, name="onnxruntime", *, low_precision_transforms=True, threads=1, **options):
            if name != "openvino":
                return open_graph(graph, name, threads=threads, **options)
            return Inverting(graph, threads=threads, wrong=low_precision_transforms or wrong_without_transforms)

        for module in (backends, agreement):
            monkeypatch.setattr(module, "open_graph", opened)
        monkeypatch.setattr(backends, "installed_engines", lambda: ("onnxruntime", "openvino"))

    return replace


def test_backends_that_agree_are_measured():
    pytest.importorskip("openvino")
    report = check_backends(GRAPH, GRAPH, IMAGES, precision="int8")
    assert report.engines["openvino"].how == "as it is"
    assert report.engines["openvino"].disagreement == 0
    in_integers = {"onnxruntime fp32", "onnxruntime int8", "openvino fp32", "openvino int8"}
    assert set(report.latency_ms) == in_integers | ({"litert fp32"} if "litert" in installed_engines() else set())
    assert report.latency_ms[report.fastest] == min(report.latency_ms.values())


def test_a_backend_that_is_wrong_only_with_transforms_runs_without(openvino_that_is_wrong):
    openvino_that_is_wrong(wrong_without_transforms=False)
    report = check_backends(GRAPH, GRAPH, IMAGES, precision="int8")
    assert report.engines["openvino"].how == "without low-precision transforms"
    assert "openvino int8" in report.latency_ms


def test_a_backend_that_is_always_wrong_is_left_out(openvino_that_is_wrong):
    openvino_that_is_wrong(wrong_without_transforms=True)
    report = check_backends(GRAPH, GRAPH, IMAGES, precision="int8")
    assert report.engines["openvino"].how == "not at all"
    assert report.engines["openvino"].disagreement == 1
    assert "openvino int8" not in report.latency_ms


def test_without_other_engines_onnx_runtime_alone_is_measured(monkeypatch):
    monkeypatch.setattr(backends, "installed_engines", lambda: ("onnxruntime",))
    report = check_backends(GRAPH, GRAPH, IMAGES, precision="fp16")
    assert report.engines["openvino"].how == "not installed"
    assert set(report.latency_ms) == {"onnxruntime fp32", "onnxruntime fp16"}


def test_labels_that_change_from_call_to_call_are_refused(monkeypatch):
    random = np.random.default_rng(0)
    monkeypatch.setattr(GraphEngine, "run", lambda self, image: random.standard_normal((1, 2, 32, 32)))
    with pytest.raises(ContractError, match="other labels at a second call"):
        check_backends(GRAPH, GRAPH, IMAGES, precision="int8")


def test_openvino_takes_a_batch_image_by_image():
    pytest.importorskip("openvino")
    batch = np.concatenate(IMAGES)
    logits = open_graph(GRAPH, "openvino", threads=1).run(batch)
    np.testing.assert_array_equal(logits, open_graph(GRAPH).run(batch))
