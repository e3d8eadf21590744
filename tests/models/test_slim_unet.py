"""Plain slim U-Nets, the yardstick of comparisons by latency."""

from __future__ import annotations

import pytest
import torch
from network_fixtures import made_network

from embedded_vit.costs.complexity import complexity
from embedded_vit.errors import NetworkError
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.layers.convolutions import without_batch_norms
from embedded_vit.models.registry import UNETS, network_config
from embedded_vit.preprocessing import Preprocessing

# Plain U-Nets of width w at S pixels, in millions of MACs, three channels and nine classes.
MACS = {("unet-12", 64): 101, ("unet-16", 64): 180, ("unet-16", 128): 718, ("unet-16", 192): 1616}


@pytest.mark.parametrize(("name", "image_size"), MACS)
def test_it_costs_what_its_width_says(name: str, image_size: int) -> None:
    costs = complexity(network_config(name, image_size=image_size, classes=9), input_channels=3)
    assert costs.macs / 1e6 == pytest.approx(MACS[name, image_size], rel=0.005)


@pytest.mark.parametrize("name", UNETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_have_the_size_of_the_image(name: str, channels: int) -> None:
    network = made_network(network_config(name, classes=5))
    with torch.inference_mode():
        assert network(torch.zeros(2, channels, 64, 64)).shape == (2, 5, 64, 64)


def test_no_batch_norm_is_exported() -> None:
    network = made_network(network_config("unet-8", classes=5))
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(without_batch_norms(network)(image), network(image), rtol=1e-4, atol=1e-5)
    graph = onnx_graph(network, Preprocessing.for_modality("CT", image_size=64, context_slices=3))
    assert b"BatchNormalization" not in graph


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"image_size": 72}, "image size 72 x 72: expected a square with a side that is a multiple of 16"),
        ({"widths": (8,)}, "expected two or more positive numbers"),
        ({"widths": (8, 0)}, "expected two or more positive numbers"),
    ],
)
def test_what_does_not_fit_is_refused(architecture: dict[str, object], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        network_config("unet-8", classes=9, **architecture)
