"""Channels removed for good: what nobody reads can go, and the network is built again from its configuration."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from embedded_vit.costs.complexity import complexity
from embedded_vit.errors import NetworkError
from embedded_vit.models.channels import ChannelGroup, channel_groups, keep_channels
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.models.registry import build_network, network_config

TWO_STAGES = {"widths": (16, 24), "depth": 1}
THREE_STAGES = {"widths": (16, 24, 32), "depth": 1, "mixing": "dense"}
CONVOLUTIONS = {"widths": (16, 24), "depth": 1, "convolution_widths": (6, 10)}
UNET = {"family": "unet", "widths": (6, 8, 10)}
HYBRID = {"family": "hybrid", "widths": (8, 12, 16), "depth": 2, "hidden_ratio": 2, "stem_stride": 2}
EVERY_KIND = pytest.mark.parametrize(
    "architecture",
    [TWO_STAGES, THREE_STAGES, CONVOLUTIONS, HYBRID, HYBRID | {"coarsest": "convolutions"}, UNET],
    ids=["two stages", "three stages, dense", "convolutions", "hybrid", "hybrid of convolutions", "U-Net"],
)
NEVER = -1e4  # a logit whose softmax is zero


class NormOverKept(nn.Module):
    """LayerNorm whose mean and deviation ask some channels only: what LayerNorm is once the others are gone."""

    def __init__(self, norm: nn.LayerNorm, kept: Tensor) -> None:
        super().__init__()
        self.weight, self.bias, self.kept = norm.weight, norm.bias, kept

    def forward(self, tokens: Tensor) -> Tensor:
        kept = tokens[..., self.kept]
        deviation = (kept.var(dim=-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return (tokens - kept.mean(dim=-1, keepdim=True)) / deviation * self.weight + self.bias


def random_network(**architecture) -> LayeredNetwork:
    torch.manual_seed(0)
    network = build_network(network_config(classes=5, image_size=64, **architecture)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        for name, statistic in network.named_buffers():
            if "running" in name:
                statistic += 0.1 * torch.rand_like(statistic)
    return network


def silenced(network: LayeredNetwork, group: ChannelGroup, kept: list[int]) -> LayeredNetwork:
    """Return the network at full size, with the other channels of the group read by no layer and left out of norms."""
    network = copy.deepcopy(network)
    silent = torch.tensor([index for index in range(group.width) if index not in kept])
    for axis in group.axes:
        owner, _, attribute = axis.parameter.rpartition(".")
        module = network.get_submodule(owner)
        parameter = getattr(module, attribute)
        length = parameter.shape[axis.dimension]
        if axis.role != "written":
            in_softmax = axis.role == "gate" or axis.parameter.endswith("norm_inputs.bias")
            value = NEVER if in_softmax else 0.0
            parameter.data.index_fill_(axis.dimension, axis.places(length, silent), value)
        if isinstance(module, nn.LayerNorm) and attribute == "bias":
            network.set_submodule(owner, NormOverKept(module, axis.places(length, torch.tensor(kept))))
    return network


@EVERY_KIND
def test_channels_that_nothing_reads_leave_the_logits_as_they_are(architecture):
    network, image = random_network(**architecture), torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        whole = network(image)
    for name, group in channel_groups(network).items():
        kept = torch.randperm(group.width)[: group.width // 2].sort().values.tolist()
        expected = silenced(network, group, kept)
        smaller = copy.deepcopy(network)
        keep_channels(smaller, {name: kept})
        with torch.inference_mode():
            before, after = expected(image), smaller(image)
        torch.testing.assert_close(after, before, rtol=1e-4, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")
        assert (whole - after).abs().max() > 1e-3, f"{name}: the channels were dead before"


@EVERY_KIND
def test_all_channels_in_another_order_are_the_same_network(architecture):
    network, image = random_network(**architecture), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(image)
        for name, group in channel_groups(network).items():
            keep_channels(network, {name: torch.randperm(group.width).tolist()})
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=2e-5)


@EVERY_KIND
@pytest.mark.parametrize("image_size", [32, 64])
def test_every_group_at_half_its_width_still_learns_with_all_its_parameters(architecture, image_size):
    config = network_config(classes=5, image_size=image_size, **architecture)
    halves = {name: max(1, group.width // 2) for name, group in channel_groups(build_network(config)).items()}
    pruned = build_network(config.model_copy(update={"kept_channels": halves}))
    assert {name: group.width for name, group in channel_groups(pruned).items()} == halves
    pruned(torch.randn(2, 1, image_size, image_size)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in pruned.parameters())


@EVERY_KIND
def test_modules_say_what_their_weights_are(architecture):
    network = random_network(**architecture)
    for name, group in channel_groups(network).items():
        keep_channels(network, {name: range(group.width // 2)})
    for module in network.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        elif isinstance(module, nn.LayerNorm):
            assert module.weight.shape == module.normalized_shape
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.shape == module.running_var.shape == (module.num_features,)
        elif isinstance(module, nn.ConvTranspose2d):
            assert module.weight.shape[:2] == (module.in_channels, module.out_channels)
        elif isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
    if "family" not in architecture:
        assert network.encoder[0].blocks[0].channel_attention.heads == 4


def test_every_prunable_width_has_a_group():
    names = set(channel_groups(random_network(**TWO_STAGES)))
    block = {"attention.keys", "attention.values", "feed_forward1", "channel_attention", "feed_forward2"}
    blocks = ["encoder.0.blocks.0", "encoder.1.blocks.0", "decoder.0.blocks.0", "decoder.0.blocks.1"]
    streams = {"encoder.0", "encoder.1", "decoder.0", "expand", "decoder.0.cross_attention.feed_forward"}
    tokens = {f"{one}.{part}" for one in blocks for part in block} | streams
    assert names == tokens | {"decoder.0.expand"}
    convolutions = {"down.0", "down.1", "up.0", "up.1"}
    inside = {"down.0", "down.1", "up.0.convolutions", "up.1.convolutions"}
    names = set(channel_groups(random_network(**CONVOLUTIONS)))
    assert names == tokens | convolutions | {f"{name}.convolution1" for name in inside}
    streams = {"encoder.0", "encoder.1", "tokens"}
    pairs = {f"{way}.{level}.first" for way in ("encoder", "decoder") for level in range(2)}
    blocks = {"tokens.0", "tokens.1", "tokens.0.expansion", "tokens.1.expansion"}
    assert set(channel_groups(random_network(**HYBRID))) == streams | pairs | blocks
    levels = {"down.0", "down.1", "down.2", "up.0", "up.1"}
    inside = {
        f"{name}.convolution1" for name in ("down.0", "down.1", "down.2", "up.0.convolutions", "up.1.convolutions")
    }
    assert set(channel_groups(random_network(**UNET))) == levels | inside


def test_a_pruned_network_costs_less_and_has_no_published_counts():
    config = network_config("embedded-vit-64", classes=9)
    pruned = config.model_copy(update={"kept_channels": {"encoder.0": 16}})
    costs = complexity(pruned)
    assert costs.macs < 44_969_984  # of the whole network
    assert costs.parameters == sum(parameter.numel() for parameter in build_network(pruned).parameters())
    assert (costs.naive_macs, costs.published_parameters) == (None, None)


@pytest.mark.parametrize("width", [0, 17, -1])
def test_an_impossible_width_is_refused(width):
    config = network_config(classes=5, image_size=32, kept_channels={"encoder.0": width}, **TWO_STAGES)
    with pytest.raises(NetworkError, match=r"^encoder\.0 has 16 channels; .* expected 1 to 16"):
        build_network(config)


@pytest.mark.parametrize("indices", [[0, 0], [-1, 3], [15, 16]])
def test_channels_that_are_not_there_or_come_twice_are_refused(indices):
    with pytest.raises(NetworkError, match="16 channels"):
        keep_channels(random_network(**TWO_STAGES), {"encoder.0": indices})


def test_an_unknown_group_is_refused_with_the_nearest_name():
    config = network_config(classes=5, image_size=32, kept_channels={"encodr.0": 8}, **TWO_STAGES)
    with pytest.raises(NetworkError, match=r"no channels 'encodr\.0' \(did you mean 'encoder\.0'\?\)"):
        build_network(config)


def test_channels_of_a_users_own_network_are_not_known():
    with pytest.raises(NetworkError, match="Linear: channels can be removed once it is traced"):
        channel_groups(nn.Linear(2, 2))
