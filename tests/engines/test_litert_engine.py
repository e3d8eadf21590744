"""LiteRT behind the engine protocol, and the translation of graphs into its format."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from artifact_fixtures import threshold_graph
from network_fixtures import made_network, made_run
from onnx import helper

from embedded_vit.builtin.index import builtin_paths
from embedded_vit.engines import installed_engines, load, open_graph
from embedded_vit.errors import ConfigError, FileFormatError
from embedded_vit.export.exporting import export, onnx_graph
from embedded_vit.models.registry import NetworkConfig
from embedded_vit.preprocessing import Preprocessing

needs_litert = pytest.mark.skipif("litert" not in installed_engines(), reason="LiteRT is not installed")

NETWORKS = {
    "more tokens than channels": NetworkConfig(name="small", image_size=32, widths=(8, 16), classes=9),
    "more channels than tokens": NetworkConfig(name="small", image_size=16, widths=(16, 64), classes=2),
    "three stages": NetworkConfig(name="small", image_size=32, widths=(8, 16, 32), depth=2, classes=3),
    "convolutions around": NetworkConfig(
        name="small", image_size=32, widths=(8, 16), convolution_widths=(4, 6), classes=9
    ),
    "U-Net": NetworkConfig(name="small", family="unet", image_size=32, widths=(8, 12, 16), classes=9),
    "hybrid": NetworkConfig(
        name="small", family="hybrid", image_size=32, widths=(8, 12, 16), depth=2, stem_stride=2, classes=9
    ),
    "dense convolutions": NetworkConfig(name="small", image_size=32, widths=(8, 16), mixing="dense", classes=9),
}


@needs_litert
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_translated_network_gives_the_logits_of_onnx_runtime(network: NetworkConfig) -> None:
    preprocessing = Preprocessing.for_modality(
        "CT", image_size=network.image_size, output_stride=network.output_stride, context_slices=3
    )
    graph = onnx_graph(made_network(network), preprocessing)
    image = np.random.default_rng(0).uniform(-1, 1, (2, 3, network.image_size, network.image_size)).astype(np.float32)
    logits = open_graph(graph, "litert", threads=1).run(image)
    np.testing.assert_allclose(logits, open_graph(graph, threads=1).run(image), atol=1e-4)


@needs_litert
@pytest.mark.parametrize("path", builtin_paths(), ids=lambda path: path.stem)
def test_built_in_models_compute_the_same_or_are_refused(path: Path) -> None:
    reference = load(path, threads=1)
    preprocessing = reference.manifest.preprocessing
    shape = (1, preprocessing.input_channels, preprocessing.image_size, preprocessing.image_size)
    image = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    if reference.manifest.precision == "int8":
        with pytest.raises(FileFormatError, match="LiteRT does not compute quantized networks"):
            load(path, "litert", threads=1)
    else:
        logits = load(path, "litert", threads=1).run(image)
        np.testing.assert_allclose(logits, reference.run(image), atol=1e-3)


@needs_litert
def test_a_graph_for_any_number_of_images_is_refused_or_takes_one_at_a_time(tmp_path: Path) -> None:
    network = NetworkConfig(name="small", image_size=16, family="unet", widths=(8, 16), classes=9)
    path = export(made_run(tmp_path / "run", network), tmp_path / "model.onnx", dynamic_batch=True).path
    try:
        engine = load(path, "litert", threads=1)
    except FileFormatError as error:
        assert "use --engine onnxruntime" in str(error)  # noqa: PT017
    else:
        image = np.random.default_rng(0).uniform(-1, 1, (3, 1, 16, 16)).astype(np.float32)
        np.testing.assert_allclose(engine.run(image), load(path, threads=1).run(image), atol=1e-4)


@needs_litert
def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    network = made_network(NETWORKS["more tokens than channels"])
    open_graph(onnx_graph(network, Preprocessing.for_modality("CT", image_size=32)), "litert", threads=1)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


REFUSED = {
    "operator Sin": helper.make_node("Sin", ["image"], ["negated"]),
    "operator ConvTranspose with a kernel that is computed": helper.make_node(
        "ConvTranspose", ["image", "image"], ["negated"]
    ),
    "operator Softmax over axis 2": helper.make_node("Softmax", ["image"], ["negated"], axis=2),
    "operator MaxPool over squares that overlap": helper.make_node(
        "MaxPool", ["image"], ["negated"], kernel_shape=[2, 2], strides=[1, 1]
    ),
    "operator Resize that is not a bilinear enlargement": helper.make_node(
        "Resize", ["image", "", "minus_one"], ["negated"], mode="nearest"
    ),
    "operator Clip with an upper end": helper.make_node("Clip", ["image", "minus_one", "minus_one"], ["negated"]),
}


@needs_litert
@pytest.mark.parametrize(("message", "node"), REFUSED.items(), ids=REFUSED.keys())
def test_what_other_networks_have_is_refused_by_name(message: str, node: onnx.NodeProto) -> None:
    model = threshold_graph()
    model.graph.node[0].CopyFrom(node)
    with pytest.raises(FileFormatError, match=rf"model.onnx: LiteRT cannot load it: {message}"):
        open_graph(model.SerializeToString(), "litert", threads=1, source="model.onnx")


def test_without_litert_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ConfigError, match=r"embedded-vit\[litert\]"):
        open_graph(threshold_graph().SerializeToString(), "litert")
