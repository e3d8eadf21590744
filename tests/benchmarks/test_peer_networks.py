"""Every network that benchmarks/peers.py trains beside ours: shapes, export, and costs as published."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from embedded_vit.costs.complexity import complexity
from embedded_vit.engines import compare, example_image, open_graph, open_network
from embedded_vit.errors import NetworkError
from embedded_vit.export.exporting import onnx_graph
from embedded_vit.models.registry import NetworkConfig, build_network
from embedded_vit.preprocessing import Preprocessing

ROOT = Path(__file__).resolve().parents[2]
FROM_PAPERS = ("unext:UNeXt", "unext:UNeXtS", "cmunext:CMUNeXt", "cmunext:CMUNeXtS", "emcad:EMCAD")
NETWORKS = [f"benchmarks.networks.{name}" for name in FROM_PAPERS]
OF_LIBRARIES = ["benchmarks.peer_networks:UNet", "benchmarks.peer_networks:SegFormerB0"]
needs_peers = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("monai", "transformers"))), reason="pip install 'embedded-vit[peers]'"
)
ALL = [*NETWORKS, *(pytest.param(name, marks=needs_peers) for name in OF_LIBRARIES)]
LARGEST_DIFFERENCE = 1e-4  # of the largest logit, or of 1

# Millions of parameters, and of MACs at 256 x 256 x 3. UNeXt: 72 and 68 times fewer than TransUNet's 105 M and 38.5 G,
# as its abstract says. CMUNeXt and PVT-EMCAD-B0: their papers' tables of costs, quoted without the papers at hand.
# Counters differ by a few percent: some count element-wise operations, some leave out the products of attention.
PUBLISHED = {
    "benchmarks.networks.unext:UNeXt": (1.47, 570),
    "benchmarks.networks.cmunext:CMUNeXt": (3.14, 7410),
    "benchmarks.networks.cmunext:CMUNeXtS": (0.41, 1090),
    "benchmarks.networks.emcad:EMCAD": (3.92, 840),
}


@pytest.fixture(autouse=True)
def from_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the networks importable, as `embedded-vit train --model` would from the repository."""
    monkeypatch.syspath_prepend(ROOT)


def described(model: str, image_size: int, *, in_channels: int = 3, classes: int = 5) -> NetworkConfig:
    return NetworkConfig(name=model, image_size=image_size, in_channels=in_channels, classes=classes, model=model)


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("image_size", [64, 128])
@pytest.mark.parametrize("model", ALL)
def test_logits_have_the_size_of_the_image(model: str, image_size: int, in_channels: int) -> None:
    network = build_network(described(model, image_size, in_channels=in_channels)).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, in_channels, image_size, image_size)).shape == (2, 5, image_size, image_size)


@pytest.mark.slow
@pytest.mark.parametrize(("image_size", "context_slices"), [(64, 1), (128, 3)])
@pytest.mark.parametrize("model", ALL)
def test_its_export_computes_the_same(model: str, image_size: int, context_slices: int) -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing.for_modality("CT", image_size=image_size, context_slices=context_slices)
    network = build_network(described(model, image_size, in_channels=preprocessing.input_channels))
    estimate_statistics(network, 2 * torch.rand(8, preprocessing.input_channels, image_size, image_size) - 1)
    image = example_image(preprocessing)
    agreement = compare(open_network(network), open_graph(onnx_graph(network, preprocessing)), [image])
    with torch.inference_mode():
        logits = network(torch.from_numpy(image))
    assert logits.std(dim=(2, 3)).min() > 0.01  # a constant would agree for no reason
    assert agreement.max_logit_difference < LARGEST_DIFFERENCE * max(1.0, float(logits.abs().max()))
    agreement.check(model)
    assert "torchvision" not in sys.modules


def estimate_statistics(network: torch.nn.Module, images: torch.Tensor) -> None:
    """Give batch norms the statistics of some images, as after training; at first they are 0 and 1."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        network.train()(images)
    network.eval()


@pytest.mark.parametrize("model", PUBLISHED)
def test_it_costs_what_its_paper_states(model: str) -> None:
    parameters, macs = PUBLISHED[model]
    costs = complexity(described(model, 256, classes=2), input_channels=3)
    assert costs.parameters / 1e6 == pytest.approx(parameters, rel=0.02)
    assert costs.macs / 1e6 == pytest.approx(macs, rel=0.08)


def test_the_decoder_alone_costs_what_its_paper_states() -> None:
    """EMCAD's abstract: 1.91 M parameters and 0.381 G FLOPs on a standard encoder, which is PVT v2 B2.

    It does not state the image size. 224 pixels, those of its abdominal CT, fit.
    """
    emcad: ModuleType = importlib.import_module("benchmarks.networks.emcad")
    widths = (64, 128, 320, 512)
    decoder = emcad.EMCADDecoder(widths, 9).eval()
    pyramid = [torch.zeros(1, width, 56 // 2**level, 56 // 2**level) for level, width in enumerate(widths)]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        assert decoder(pyramid).shape == (1, 9, 56, 56)
    assert sum(parameter.numel() for parameter in decoder.parameters()) / 1e6 == pytest.approx(1.91, rel=0.02)
    assert counter.get_total_flops() / 2e9 == pytest.approx(0.381, rel=0.08)


@pytest.mark.parametrize("model", ALL)
def test_a_size_that_it_cannot_halve_is_refused(model: str) -> None:
    with pytest.raises(NetworkError, match="image size 72"):
        build_network(described(model, 72))


@pytest.mark.parametrize("model", NETWORKS)
def test_its_gradients_are_finite_on_a_constant_image(model: str) -> None:
    torch.manual_seed(0)
    network = build_network(described(model, 64)).train()
    network(torch.zeros(2, 3, 64, 64)).square().mean().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    monkeypatch.delitem(sys.modules, "benchmarks.peer_networks", raising=False)
    with pytest.raises(NetworkError, match=r"embedded-vit\[peers\]"):
        build_network(described(OF_LIBRARIES[0], 64))
