"""Files of lower precision still compute the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from network_fixtures import made_network
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, quantize_static

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.artifact.onnx_file import check_self_contained
from embedded_vit.compression.step import StepContext
from embedded_vit.compression.steps import quantize
from embedded_vit.compression.steps.integer_graph import FloatGraph, _Images
from embedded_vit.compression.steps.quantize import Quantize
from embedded_vit.compression.steps.stored_weights import store_as_half, without_annotations
from embedded_vit.engines import compare, installed_engines, load, open_graph, open_network
from embedded_vit.engines.agreement import MAXIMUM_DISAGREEMENT
from embedded_vit.errors import ConfigError, FileFormatError
from embedded_vit.export.exporting import LayeredGraph, export_checkpoint, layered_graph, onnx_graph
from embedded_vit.models.registry import build_network, network_config
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def context(synapse_folder, trained_run, tmp_path_factory) -> StepContext:
    return StepContext(synapse_folder, load_checkpoint(trained_run), tmp_path_factory.mktemp("work"), threads=1)


@pytest.fixture(scope="module")
def random_network() -> torch.nn.Module:
    """Widths 16 and 24 for 128 pixels: 1024 tokens in the first stage."""
    torch.manual_seed(0)
    return build_network(network_config(image_size=128, widths=(16, 24), classes=4)).eval()


@pytest.fixture(scope="module")
def layered(random_network) -> LayeredGraph:
    return layered_graph(random_network, Preprocessing.for_modality("CT", image_size=128))


@pytest.fixture(scope="module")
def random_graph(layered) -> bytes:
    return layered.content


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Blocks of 16 x 16 pixels with noise: (1, 1, 128, 128)."""
    random = np.random.default_rng(0)
    blocks = random.uniform(-1, 1, (4, 1, 1, 8, 8)).repeat(16, axis=3).repeat(16, axis=4)
    return list((blocks + 0.05 * random.standard_normal(blocks.shape)).clip(-1, 1).astype(np.float32))


def constants(graph: bytes) -> list[np.ndarray]:
    return [numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(graph).graph.initializer]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.005), ("int8", 0.1)])
def test_a_quantised_artifact_agrees_with_pytorch(context, tmp_path, precision, tolerance):
    before = context.original
    result = Quantize(precision=precision, calibration_slices=16).apply(before, context, tmp_path, frozenset())
    path = tmp_path / "model.onnx"
    export_checkpoint(before, path, context.data_set, graph=result.graph, precision=result.precision)
    engine, exact = load(path), open_network(before.network)
    assert engine.manifest.precision == precision
    images = context.probe_images(6)
    scale = max(np.abs(exact.run(image)).max() for image in images)
    agreement = compare(engine, exact, images)
    assert 0 < agreement.max_logit_difference < tolerance * scale
    assert agreement.label_disagreement < 0.02
    assert result.facts["size_ratio"] < 0.65
    assert result.facts["fastest"] in result.facts["latency_ms"]


@pytest.mark.parametrize(("ratio", "taken"), [(0.8, True), (1.0, False), (1.3, False), (None, False)])
@pytest.mark.parametrize("only_if_faster", [True, False])
def test_int8_says_whether_it_is_faster_and_is_left_where_it_must_be(
    ratio, taken, only_if_faster, context, tmp_path, monkeypatch
):
    """An engine that takes the ratio of the float file's time, or that cannot load the int8 file."""
    asked = []

    def measured(path, reference, *, engine, threads):
        asked.append((read_artifact(path)[1].precision, read_artifact(reference)[1].precision, engine, threads))
        if ratio is None:
            raise FileFormatError("int8.onnx: no such operator")
        return ratio, 2.0

    monkeypatch.setattr(quantize, "steady_ratio", measured)
    monkeypatch.setattr(quantize, "_facts", lambda *_: {})
    step = Quantize(precision="int8", calibration_slices=2, only_if_faster=only_if_faster)
    result = step.apply(context.original, context, tmp_path, frozenset())
    assert asked == [("int8", "fp32", "onnxruntime", 1)]
    assert (result.precision, result.graph is None) == (
        ("int8", False) if taken or not only_if_faster else ("fp32", True)
    )
    assert result.facts["faster_than_float"] is taken
    assert result.facts["note"].startswith("not taken") is (only_if_faster and not taken)
    words = {0.8: "int8 is faster here: 0.80", None: "onnxruntime does not compute int8 files"}
    assert words.get(ratio, "int8 is NOT FASTER here") in result.facts["note"]


def test_only_int8_can_be_left_for_its_speed():
    with pytest.raises(ConfigError, match="only_if_faster is for int8 and int8-bf16, not for fp16"):
        Quantize.parse({"precision": "fp16", "only_if_faster": True}, source="plan.yaml")


def test_quantising_every_operator_wrecks_what_our_choice_keeps(
    random_network, layered, random_graph, images, tmp_path
):
    (tmp_path / "float.onnx").write_bytes(random_graph)
    quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "all.onnx",
        _Images(images, input_name="image"),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
    )
    prepared, exact = FloatGraph.of(layered), open_network(random_network)
    ours = compare(open_graph(prepared.quantised(prepared.layers, images)), exact, images)
    everything = compare(open_graph((tmp_path / "all.onnx").read_bytes()), exact, images)
    assert ours.label_disagreement < 0.03
    assert everything.label_disagreement > 5 * ours.label_disagreement


def test_layers_are_the_networks_own_and_the_last_one_is_none_of_them(random_network, layered):
    prepared = FloatGraph.of(layered)
    modules = dict(random_network.named_modules())
    assert set(prepared.layers) <= set(modules)
    with_weights = {name for name, module in modules.items() if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))}
    assert set(prepared.layers) == with_weights - {"head"}
    assert prepared.last == "head"
    assert "decoder.0.blocks.0.channel_attention.qkv" not in prepared.nodes  # multiplies no token


def test_layers_with_the_same_weights_in_another_order_are_told_apart():
    network = made_network(network_config(image_size=32, widths=(16, 24), classes=4))
    attention = network.encoder[0].blocks[0].attention
    attention.queries.weight.data = attention.keys.weight.data.flip(1)
    attention.values.weight.data = attention.keys.weight.data.flip(0)
    prepared = FloatGraph.of(layered_graph(network, Preprocessing.for_modality("CT", image_size=32)))
    parts = [f"encoder.0.blocks.0.attention.{part}" for part in ("keys", "queries", "values")]
    assert set(parts) <= set(prepared.layers)
    assert all(len(prepared.constants[part]) == 1 for part in parts)


def test_layers_of_a_users_own_network_have_its_names():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(1, 8, 3, padding=1, bias=False)
            self.norm = torch.nn.BatchNorm2d(8)  # joined with the convolution by the translation
            self.position = torch.nn.Parameter(torch.randn(1, 8, 16, 16))
            self.linear = torch.nn.Linear(8, 8)
            self.head = torch.nn.Conv2d(8, 3, 1)

        def forward(self, image):
            features = self.norm(self.first(image)).relu() + self.position
            return self.head(self.linear(features.movedim(1, 3)).relu().movedim(3, 1))

    torch.manual_seed(0)
    prepared = FloatGraph.of(layered_graph(Own().eval(), Preprocessing.for_modality("CT", image_size=16)))
    assert (prepared.layers, prepared.last) == (("first", "position", "linear"), "head")


def test_convolutions_around_the_transformer_multiply_integers_but_for_the_transposed():
    network = made_network(network_config(image_size=32, widths=(16, 24), convolution_widths=(6, 10), classes=4))
    prepared = FloatGraph.of(layered_graph(network, Preprocessing.for_modality("CT", image_size=32)))
    stages = ("down.0", "down.1", "up.0.convolutions", "up.1.convolutions")
    around = [layer for layer in prepared.layers if layer.startswith(("down", "up"))]
    assert around == [f"{stage}.convolution{number}" for stage in stages for number in (1, 2)]
    assert all(prepared.nodes[layer] for layer in around)
    assert prepared.last == "head"


def test_an_integer_graph_is_standard_and_cannot_saturate(layered, images):
    prepared = FloatGraph.of(layered)
    graph = prepared.quantised(prepared.layers, images)
    check_self_contained(graph, "graph")
    model = onnx.load_from_string(graph)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    multiplied = 0
    for node in model.graph.node:
        maker = makers.get(node.input[1]) if node.op_type in ("Conv", "Gemm", "MatMul") else None
        if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in tensors:
            assert makers[node.input[0]].op_type == "DequantizeLinear"
            assert np.abs(tensors[maker.input[0]].astype(int)).max() <= 64
            multiplied += 1
        if node.op_type in ("Softmax", "LayerNormalization", "Gelu"):
            assert makers[node.input[0]].op_type != "DequantizeLinear"
    assert multiplied == sum(len(nodes) for layer, nodes in prepared.nodes.items() if layer != "head")


def test_protected_layers_stay_in_float(context):
    step = Quantize(precision="int8", calibration_slices=2)
    units = step.units(context.original)
    result = step.apply(context.original, context, context.folder, frozenset(units[1:]))
    assert result.facts["layers"] == 1
    assert sum(array.dtype == np.int8 and array.ndim > 1 for array in constants(result.graph)) == 1
    spared = step.apply(context.original, context, context.folder, frozenset(units))
    assert spared.facts["max_logit_difference"] < 1e-4


def test_a_layer_alone_does_some_damage(context):
    step = Quantize(precision="int8", calibration_slices=4)
    engine = step.damaged(context.original, "decoder.0.first.convolution", context)
    agreement = compare(engine, open_network(context.original.network), context.probe_images(4))
    assert agreement.max_logit_difference > 1e-4


def test_layers_to_keep_are_no_units(context):
    kept = Quantize(precision="int8", keep=("encoder.*",)).units(context.original)
    assert kept
    assert not any(unit.startswith("encoder.") for unit in kept)


def test_a_layer_to_keep_that_does_not_exist_is_refused_with_the_nearest(context):
    step = Quantize(precision="int8", keep=("decoder.0.first.convolutions",))
    with pytest.raises(ConfigError, match=r"did you mean 'decoder\.0\.first\.convolution'"):
        step.units(context.original)


def test_half_precision_halves_a_published_network():
    torch.manual_seed(0)
    network = build_network(network_config("embedded-vit-64", classes=9)).eval()
    graph = onnx_graph(network, Preprocessing.for_modality("CT", image_size=64))
    model = onnx.load_from_string(graph)
    store_as_half(model)
    half = without_annotations(model)
    check_self_contained(half, "half")
    assert len(half) <= 0.51 * len(graph)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 1, 64, 64)).astype(np.float32)
    assert compare(open_graph(half), open_graph(graph), [image]).label_disagreement < 0.005


def test_a_weight_that_half_precision_cannot_hold_stays_as_it_is(random_graph):
    model = onnx.load_from_string(random_graph)
    first = next(tensor for tensor in model.graph.initializer if len(tensor.dims) > 1)
    first.CopyFrom(numpy_helper.from_array(np.full(first.dims, 1e6, np.float32), first.name))
    store_as_half(model)
    assert any(array.dtype == np.float32 and (array == 1e6).all() for array in constants(model.SerializeToString()))


def test_bf16_is_a_setting_and_says_what_it_does(context):
    result = Quantize(precision="bf16").apply(context.original, context, context.folder, frozenset())
    assert result.graph is None
    assert result.precision == "bf16"
    assert result.facts["processor_has_bf16"] in (True, False)
    assert result.facts["max_logit_difference"] > 0
    assert Quantize(precision="bf16").units(context.original) == ()


def test_integers_with_the_rest_in_bfloat16_are_the_same_graph(context, tmp_path: Path):
    products = {}
    for precision in ("int8", "int8-bf16"):
        step = Quantize(precision=precision, calibration_slices=4)
        assert step.units(context.original)
        products[precision] = step.apply(context.original, context, context.folder, frozenset())
    assert products["int8-bf16"].graph == products["int8"].graph
    assert products["int8-bf16"].precision == "int8-bf16"
    assert "onnxruntime int8-bf16" in products["int8-bf16"].facts["latency_ms"]
    path = tmp_path / "model.onnx"
    graph = products["int8-bf16"].graph
    export_checkpoint(context.original, path, context.data_set, graph=graph, precision="int8-bf16")
    _, manifest = read_artifact(path)
    assert manifest.is_int8
    assert manifest.in_bfloat16
    image = context.probe_images(1)[0]
    found = {engine: load(path, engine).run(image).argmax(axis=1) for engine in installed_engines()[:2]}
    assert all(np.mean(labels != found["onnxruntime"]) <= MAXIMUM_DISAGREEMENT for labels in found.values())


def test_fine_tuning_with_roundings_changes_the_checkpoint_and_keeps_the_first(context, tmp_path: Path):
    before = {name: tensor.clone() for name, tensor in context.original.network.state_dict().items()}
    step = Quantize(precision="int8", calibration_slices=4, qat_epochs=1)
    result = step.apply(context.original, context, tmp_path / "qat", frozenset())
    assert all(torch.equal(before[name], tensor) for name, tensor in context.original.network.state_dict().items())
    after = result.checkpoint.network.state_dict()
    assert after.keys() == before.keys()
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert result.facts["label_disagreement"] < 0.03
