"""The hybrid family: its shapes, what folds away, and the layout of what engines run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from network_fixtures import made_network
from torch import nn

from embedded_vit.engines import installed_engines, open_graph
from embedded_vit.errors import ConfigError, NetworkError
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.layers.convolutions import without_batch_norms
from embedded_vit.models.hybrid_vit import HybridViT
from embedded_vit.models.registry import NetworkConfig, network_config
from embedded_vit.preprocessing import Preprocessing

WIDTHS = (16, 32, 64)


def described(**architecture: object) -> NetworkConfig:
    values = {"family": "hybrid", "image_size": 64, "widths": WIDTHS, "depth": 2, "hidden_ratio": 2, "stem_stride": 2}
    return network_config(classes=9, **{**values, **architecture})


def exported(config: NetworkConfig) -> bytes:
    preprocessing = Preprocessing.for_modality(
        "CT", image_size=config.image_size, output_stride=config.output_stride, context_slices=3
    )
    return onnx_graph(made_network(config), preprocessing)


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_lie_at_the_resolution_of_the_stem(stem_stride: int, depth: int, channels: int) -> None:
    network = HybridViT(WIDTHS, depth=depth, stem_stride=stem_stride, classes=5)
    assert network(torch.zeros(2, channels, 64, 64)).shape == (2, 5, 64 // stem_stride, 64 // stem_stride)


def test_one_grey_channel_equals_three_copies_of_it() -> None:
    network, image = made_network(described()), torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), network(image.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-5)


def test_tokens_see_the_whole_image() -> None:
    """A pixel in one corner changes the logits of the opposite one, which no convolution here reaches."""
    network = made_network(described(image_size=128))
    image = torch.rand(1, 1, 128, 128)
    changed = image.clone()
    changed[..., :8, :8] = -1
    with torch.inference_mode():
        difference = (network(image) - network(changed)).abs()[..., -4:, -4:].max()
        without = made_network(described(image_size=128, depth=0))
        convolved = (without(image) - without(changed)).abs()[..., -4:, -4:].max()
    assert difference > 1e-5
    assert convolved == 0


@pytest.mark.parametrize(
    ("architecture", "error", "message"),
    [
        ({"image_size": 100}, NetworkError, "multiple of 8, for example 96 or 104"),
        ({"widths": (16,)}, NetworkError, "expected two or more, the last one a multiple of 4"),
        ({"widths": (16, 30)}, NetworkError, "expected two or more, the last one a multiple of 4"),
        ({"convolution_widths": (4, 8)}, ConfigError, "convolution_widths are for the dual family"),
        ({"family": "dual"}, ConfigError, "stem_stride is for the hybrid family"),
        ({"family": "dual", "stem_stride": 1, "depth": 0}, ConfigError, "the dual family needs a depth of at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(architecture: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        described(**architecture)


def test_no_batch_norm_is_left_for_inference() -> None:
    network, image = made_network(described()), torch.rand(2, 3, 64, 64) * 2 - 1
    folded = without_batch_norms(network)
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), network(image), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_onnx_runtime_changes_the_layout_around_the_tokens_only(depth: int, tmp_path: Path) -> None:
    """Every convolution takes in its sum and its ReLU; only attention and the logits leave the blocked layout."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # the file is for this machine only, as it warns
    onnxruntime.InferenceSession(exported(described(depth=depth)), options, providers=["CPUExecutionProvider"])
    nodes = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    if not nodes["ReorderOutput"]:
        pytest.skip("ONNX Runtime has no blocked layout on this processor")
    assert nodes["ReorderOutput"] == depth + 1  # the last one gives the logits
    assert nodes["ReorderInput"] == depth
    assert nodes["Transpose"] == nodes["BatchNormalization"] == 0
    levels = len(WIDTHS) - 1
    assert nodes["Upsample"] == nodes["Add"] == nodes["Relu"] == levels  # what is enlarged is added to the skip
    assert nodes["Conv"] == 1 + 2 * 2 * levels + 2 * levels + 4 * depth + 1


@pytest.mark.parametrize("engine", ["openvino", "litert"])
def test_other_engines_give_the_logits_of_onnx_runtime(engine: str) -> None:
    if engine not in installed_engines():
        pytest.skip(f"{engine} is not installed")
    graph = exported(described())
    image = np.random.default_rng(0).uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)
    expected = open_graph(graph, threads=1).run(image)
    assert expected.shape == (1, 9, 32, 32)
    np.testing.assert_allclose(open_graph(graph, engine, threads=1).run(image), expected, atol=1e-4)
