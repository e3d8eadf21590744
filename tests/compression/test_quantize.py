"""Files of lower precision still compute the network."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from embedded_vit.artifact.export import export_checkpoint
from embedded_vit.compression.fold import Fold
from embedded_vit.compression.quantize import GraphEngine, Quantize
from embedded_vit.compression.step import Workshop
from embedded_vit.runtime.engine import OnnxEngine
from embedded_vit.training.checkpoint import load_checkpoint
from embedded_vit.training.engine import TorchEngine


@pytest.fixture
def workshop(synapse_folder, trained_run, tmp_path) -> Workshop:
    return Workshop(synapse_folder, load_checkpoint(trained_run), tmp_path / "work", threads=1)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.005), ("int8", 0.1)])
def test_a_quantized_artifact_agrees_with_pytorch(workshop, tmp_path, precision, tolerance):
    before = workshop.original
    product = Quantize(precision=precision, calibration_slices=16).apply(before, workshop, tmp_path, frozenset())
    path = tmp_path / "model.onnx"
    export_checkpoint(before, path, workshop.data_set, graph=product.graph, precision=product.precision)
    engine, exact = OnnxEngine.load(path), TorchEngine(before.network)
    assert engine.manifest.precision == precision
    images = workshop.probe_images(6)
    expected = [exact.run(image) for image in images]
    scale = max(np.abs(logits).max() for logits in expected)
    errors = [np.abs(engine.run(image) - logits).max() for image, logits in zip(images, expected, strict=True)]
    assert 0 < max(errors) < tolerance * scale


def test_the_last_layer_and_products_of_activations_stay_in_float(workshop):
    product = Quantize(precision="int8", calibration_slices=4).apply(
        workshop.original, workshop, workshop.folder, frozenset()
    )
    nodes = onnx.load_from_string(product.graph).graph.node
    makers = {output: node.op_type for node in nodes for output in node.output}
    in_float = [n for n in nodes if n.op_type == "MatMul" and makers.get(n.input[1]) != "DequantizeLinear"]
    in_bits = [n for n in nodes if n.op_type == "MatMul" and makers.get(n.input[1]) == "DequantizeLinear"]
    assert in_bits
    assert in_float
    assert all(makers.get(name) != "DequantizeLinear" for n in nodes if n.op_type == "Softmax" for name in n.input)


def test_protected_nodes_stay_in_float(workshop):
    step = Quantize(precision="int8", calibration_slices=2)
    units = step.units(workshop.original)
    product = step.apply(workshop.original, workshop, workshop.folder, frozenset(units[1:]))
    assert product.facts == {"nodes_in_8_bits": 1}
    assert isinstance(step.damaged(workshop.original, units[0], workshop), GraphEngine)


def test_folding_is_exact_and_saves_operations(workshop):
    facts = Fold().apply(workshop.original, workshop, workshop.folder, frozenset()).facts
    assert facts["macs"] < facts["published_macs"]
    assert facts["largest_deviation"] < 1e-3
