"""What the layers declare is what PyTorch counts, in both forms, of every network and of pruned ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from embedded_vit.costs.complexity import complexity, counted_macs
from embedded_vit.models.channels import channel_groups
from embedded_vit.models.published_form import PublishedForm
from embedded_vit.models.reference_checkpoint import to_reference
from embedded_vit.models.registry import FAMILY, NETWORKS, PRESETS, NetworkConfig, build_network, network_config


def pruned(config: NetworkConfig, part: int) -> NetworkConfig:
    """Return the network with one in `part` channels of every group."""
    with torch.device("meta"):
        groups = channel_groups(build_network(config))
    kept = {name: max(1, group.width // part) for name, group in groups.items()}
    return config.model_copy(update={"kept_channels": kept})


def declared_macs(config: NetworkConfig, **options) -> int:
    with torch.device("meta"):
        return build_network(config).macs(config.image_size, **options)


@pytest.mark.parametrize(
    ("image_size", "input_channels", "part", "architecture"),
    [
        (64, 1, 1, {"widths": (32, 80)}),
        (64, 1, 3, {"widths": (32, 80)}),
        (32, 1, 3, {"widths": (64, 80), "mixing": "dense"}),  # fewer tokens than channels
        (48, 6, 3, {"widths": (16, 24, 32), "in_channels": 6}),
        (64, 3, 1, {"widths": (32, 80), "convolution_widths": (12, 24)}),
        (32, 1, 3, {"widths": (16, 24, 32), "convolution_widths": (6, 10)}),
        (64, 3, 1, {"family": "hybrid", "widths": (16, 32, 64), "depth": 2, "stem_stride": 2}),
        (64, 1, 3, {"family": "hybrid", "widths": (16, 24, 32, 48), "stem_stride": 1}),
        (64, 3, 3, {"family": "unet", "widths": (16, 24, 32)}),
        (64, 3, 3, {"family": "hybrid", "widths": (16, 24, 32), "coarsest": "convolutions"}),
        (64, 6, 3, {"family": "hybrid", "widths": (16, 24), "depth": 0, "stem_stride": 4, "in_channels": 6}),
    ],
    ids=[
        "whole",
        "a third of all channels",
        "dense",
        "three stages, six channels",
        "convolutions",
        "a third of them",
        "hybrid",
        "hybrid, a third of all channels",
        "a third of a U-Net",
        "a third of convolutions at every level",
        "hybrid without tokens, six channels",
    ],
)
def test_layers_declare_what_pytorch_counts(image_size, input_channels, part, architecture):
    config = pruned(network_config(classes=5, image_size=image_size, **architecture), part)
    expected = counted_macs(config, input_channels=input_channels)
    assert declared_macs(config, input_channels=input_channels) == expected
    assert complexity(config, input_channels=input_channels).macs == expected


@pytest.mark.parametrize("part", [1, 3], ids=["whole", "a third of all channels"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_network_declares_what_pytorch_counts(name, part):
    config = pruned(network_config(name, classes=9), part)
    assert declared_macs(config) == counted_macs(config)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_form_is_declared_too(name):
    config = network_config(name, classes=9)
    with FakeTensorMode(), torch.no_grad():
        form = PublishedForm(to_reference(build_network(config), stages=len(config.widths)))
        image = torch.zeros(1, 1, config.image_size, config.image_size)
        with FlopCounterMode(display=False) as counter:
            form(image)
    assert declared_macs(config, published=True) == counter.get_total_flops() // 2
    assert complexity(config).naive_macs == counter.get_total_flops() // 2


class CarefullyBegun(nn.Module):
    """A user's own network whose initial values depend on numbers, as those of most vision transformers do."""

    def __init__(self, *, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(in_channels, classes, 1)
        nn.init.trunc_normal_(self.head.weight, std=0.02)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(image)


def test_a_network_of_truncated_normal_values_is_counted_and_draws_no_random_numbers():
    config = NetworkConfig(name="own", image_size=8, in_channels=3, classes=5, model=f"{__name__}:CarefullyBegun")
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    costs = complexity(config, input_channels=3)
    assert (costs.parameters, costs.macs) == (3 * 5 + 5, 8 * 8 * 3 * 5)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("name", FAMILY)
def test_networks_without_a_published_form_have_no_count_of_it(name):
    assert complexity(network_config(name, classes=9)).naive_macs is None
