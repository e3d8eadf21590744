"""Artifacts to test with: a one-line graph that any machine runs, and networks with random weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from embedded_vit.artifact.manifest import Manifest, sealed
from embedded_vit.artifact.onnx_file import graph_digest
from embedded_vit.cli import main
from embedded_vit.labels import LabelSet, Region
from embedded_vit.preprocessing import Preprocessing

RunVerb = Callable[..., tuple[int, str, str]]


def threshold_graph(
    size: int = 32, batch: int | str = 1, *, channels: int = 1, **model_options: Any
) -> onnx.ModelProto:
    """Make a graph with logits (-image, image) of the first channel: class 1 where it is brighter than mid-window."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, channels, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 2, size, size])
    constants = [helper.make_tensor("minus_one", TensorProto.FLOAT, [1], [-1.0])]
    first, nodes = "image", []
    if channels > 1:
        constants.append(helper.make_tensor("zero", TensorProto.INT64, [1], [0]))
        first, nodes = "first", [helper.make_node("Gather", ["image", "zero"], ["first"], axis=1)]
    nodes += [
        helper.make_node("Mul", [first, "minus_one"], ["negated"]),
        helper.make_node("Concat", ["negated", first], ["logits"], axis=1),
    ]
    graph = helper.make_graph(nodes, "threshold", [image], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, **model_options)


def dark_and_bright_graph(size: int = 32, *, channels: int = 1) -> onnx.ModelProto:
    """Make a threshold graph with a third logit, -3 image - 1: class 2 in the darkest quarter of the window."""
    made = threshold_graph(size, channels=channels)
    joined = made.graph.node.pop()
    made.graph.initializer.append(helper.make_tensor("minus_three", TensorProto.FLOAT, [1], [-3.0]))
    made.graph.node.extend(
        [
            helper.make_node("Mul", [joined.input[1], "minus_three"], ["steep"]),
            helper.make_node("Add", ["steep", "minus_one"], ["dark"]),
            helper.make_node("Concat", [*joined.input, "dark"], ["logits"], axis=1),
        ]
    )
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    return made


DARK_AND_BRIGHT = LabelSet.from_names(["bright", "dark"]).model_copy(
    update={"regions": (Region(name="both", members=(1, 2)), Region(name="the dark", members=(2,)))}
)  # what that graph finds


def threshold_manifest(graph: bytes, **fields: Any) -> Manifest:
    """Make the manifest of a threshold graph: CT, one structure named "bright"; `fields` override."""
    values: dict[str, Any] = {
        "name": "threshold",
        "network": {"name": "threshold"},
        "preprocessing": Preprocessing.for_modality("CT", image_size=32),
        "labels": LabelSet.from_names(["bright"]),
        "recipe": "none",
        "data_fingerprint": "0" * 64,
        "split": {"train": (), "validation": (), "test": ()},
        "created": "2026-01-01T00:00:00+00:00",
        "graph_sha256": graph_digest(graph),
    }
    return Manifest(**(values | fields))


def write_artifact(path: Path, model: onnx.ModelProto | None = None, **fields: Any) -> Path:
    """Write a threshold artifact; its graph is as large as its preprocessing says, unless another one is given."""
    preprocessing = fields.get("preprocessing") or Preprocessing.for_modality("CT", image_size=32)
    made = model or threshold_graph(preprocessing.image_size, channels=preprocessing.input_channels)
    graph = made.SerializeToString()
    path.write_bytes(sealed(graph, threshold_manifest(graph, **fields)))
    return path


@pytest.fixture
def make_artifact(tmp_path: Path) -> Callable[..., Path]:
    """Write a threshold artifact: `make_artifact(model=None, name="model.onnx", **manifest_fields)`."""

    def make(model: onnx.ModelProto | None = None, name: str = "model.onnx", **fields: Any) -> Path:
        return write_artifact(tmp_path / name, model or threshold_graph(), **fields)

    return make


@pytest.fixture
def run_verb(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> RunVerb:
    """Run a verb: (exit status, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["embedded-vit", *map(str, words)])
        try:
            main()
            status = 0
        except SystemExit as exited:
            status = int(exited.code or 0)
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def predict(run_verb: RunVerb) -> RunVerb:
    """Run `embedded-vit predict`: (exit status, standard output, standard error)."""

    def predict(*arguments: object) -> tuple[int, str, str]:
        return run_verb("predict", *arguments)

    return predict
