"""The way back from a model file to weights that can be trained further."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from network_fixtures import made_run
from torch import nn

from embedded_vit.builtin import index
from embedded_vit.compression.steps.stored_weights import store_as_half, without_annotations
from embedded_vit.engines import compare, grainy_images, load, open_network
from embedded_vit.errors import CheckpointError
from embedded_vit.export.exporting import export_checkpoint, onnx_graph
from embedded_vit.export.reading_back import checkpoint_of_artifact, with_statistics
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.models.registry import network_config
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import Checkpoint, load_checkpoint

DUAL = {"image_size": 32, "widths": (16, 32), "depth": 1}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "dual": DUAL,
    "pruned, with convolutions": DUAL
    | {
        "convolution_widths": (4, 8),
        "kept_channels": {
            "down.0": 3,
            "encoder.0.blocks.0.attention.keys": 9,
            "encoder.1.blocks.0.channel_attention": 5,
        },
    },
    "hybrid": {"image_size": 64, "family": "hybrid", "widths": (8, 16, 16), "depth": 1, "stem_stride": 2},
    "unet": {"image_size": 32, "family": "unet", "widths": (8, 16, 16)},
}


def made(folder: Path, architecture: dict[str, Any], *, context_slices: int = 3) -> Checkpoint:
    """A network with random weights, and batch norms that are used to something."""
    described = network_config(None, classes=SYNAPSE_LABELS.classes, **architecture)
    return load_checkpoint(made_run(folder, described, context_slices=context_slices))


def difference(network: nn.Module, path: Path, preprocessing: Preprocessing) -> float:
    return compare(open_network(network), load(path), grainy_images(preprocessing)).max_logit_difference


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_network_of_a_file_computes_the_same(name: str, tmp_path: Path) -> None:
    original, path = made(tmp_path / "run", ARCHITECTURES[name]), tmp_path / "model.onnx"
    export_checkpoint(original, path, None)
    back = checkpoint_of_artifact(path)
    assert back.config.network == original.config.network
    assert difference(back.network, path, back.config.preprocessing) < 1e-4
    norms = [module for module in back.network.modules() if isinstance(module, nn.BatchNorm2d)]
    images = torch.from_numpy(np.concatenate(grainy_images(back.config.preprocessing)))
    with_statistics(back.network, images)
    assert difference(back.network, path, back.config.preprocessing) < 1e-4
    if norms:  # a training begins where the network is
        evaluated = back.network(images)
        torch.testing.assert_close(back.network.train()(images), evaluated, rtol=0.05, atol=0.05)


def test_grey_stems_and_weights_in_half_precision_are_read(tmp_path: Path) -> None:
    original, path = made(tmp_path / "run", DUAL, context_slices=1), tmp_path / "model.onnx"
    model = onnx.load_from_string(onnx_graph(original.network, original.config.preprocessing))
    store_as_half(model)
    export_checkpoint(original, path, None, graph=without_annotations(model), precision="fp16")
    back = checkpoint_of_artifact(path)
    assert back.config.network.in_channels == 1
    assert difference(back.network, path, back.config.preprocessing) < 1e-4


def test_int8_is_refused() -> None:
    with pytest.raises(CheckpointError, match="an int8 model cannot be trained further; take the float model"):
        checkpoint_of_artifact(index.artifact_path("abdomen-ct-int8"))


def test_a_graph_whose_weights_are_not_found_is_refused(tmp_path: Path) -> None:
    original, path = made(tmp_path / "run", ARCHITECTURES["unet"]), tmp_path / "model.onnx"
    other = made(tmp_path / "other", ARCHITECTURES["unet"] | {"widths": (16, 16, 16)})
    graph = onnx_graph(other.network, other.config.preprocessing)
    export_checkpoint(original, path, None, graph=graph, precision="fp16")
    with pytest.raises(CheckpointError, match=r"cannot be read back .*; fine-tune from its run folder instead"):
        checkpoint_of_artifact(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["abdomen-ct", "abdomen-ct-fast", "abdomen-ct-large", "hippocampus-mr"])
def test_built_in_models_can_be_trained_further(name: str) -> None:
    back = checkpoint_of_artifact(index.artifact_path(name))
    assert back.config.labels.names == index.builtin_model(name).manifest.labels.names
