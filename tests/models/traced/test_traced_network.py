"""Channels of networks that other people wrote are found by tracing, counted, and removed."""

from __future__ import annotations

import copy

import pytest
import torch
from other_networks import Mixed, PlainViT, SwinUNet, UNet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from embedded_vit.errors import NetworkError
from embedded_vit.models.channels import ChannelGroup, channel_groups, keep_channels
from embedded_vit.models.traced import TracedNetwork
from embedded_vit.models.traced.groups import TracedChannels

SIZE = 32
NETWORKS = {"unet": UNet, "vit": PlainViT, "swin": SwinUNet, "mixed": Mixed}


def made(kind: str) -> nn.Module:
    """A network whose norms and biases are not the 0 and 1 that hide mistakes."""
    torch.manual_seed(0)
    network = NETWORKS[kind](in_channels=2, classes=3, image_size=SIZE).eval()
    for values in [*network.parameters(), *(each for each in network.buffers() if each.is_floating_point())]:
        if values.ndim == 1:
            values.data += 0.1 * torch.rand_like(values)
    return network


@pytest.fixture(scope="module")
def traced() -> dict[str, TracedNetwork]:
    return {kind: TracedNetwork.of(made(kind), (2, SIZE, SIZE)) for kind in NETWORKS}


def image(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_trace_computes_what_the_network_computes_under_the_same_names(traced, kind):
    network = made(kind)
    assert traced[kind].state_dict().keys() == network.state_dict().keys()
    for count in (1, 3):
        assert torch.equal(traced[kind](image(count)), network(image(count)))


@pytest.mark.parametrize("kind", ["unet", "swin", "mixed"])  # PyTorch does not count the attention of the other
def test_multiply_accumulates_are_those_that_pytorch_counts(traced, kind):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made(kind)(image(1))
    assert traced[kind].macs(SIZE, input_channels=2) == counter.get_total_flops() // 2


def test_channels_that_live_and_die_together_are_one_group(traced):
    axes = {name: {(axis.parameter, axis.dimension) for axis in group.axes} for name, group in groups(traced, "unet")}
    assert axes["down0.4"] == {
        *(("down0.4.weight", 0), ("down0.4.bias", 0), ("down0.5.weight", 0), ("down0.5.bias", 0)),
        *(("down0.5.running_mean", 0), ("down0.5.running_var", 0), ("down1.0.weight", 1), ("join0.0.weight", 1)),
    }
    assert axes["up0"] == {("up0.weight", 1), ("up0.bias", 0), ("join0.0.weight", 1)}  # the other half of the join
    assert "head" not in axes


def test_heads_are_removed_whole_and_a_residual_stream_is_one_group(traced):
    vit, swin = dict(groups(traced, "vit")), dict(groups(traced, "swin"))
    assert (vit["attentions.0.qkv"].width, vit["attentions.0.qkv"].unit) == (4, 16)
    assert (swin["bottom.0.qkv"].width, swin["bottom.0.qkv"].unit) == (8, 8)
    assert {axis.parameter for axis in swin["down.0.qkv"].axes} == {
        *("down.0.table", "down.0.qkv.weight", "down.0.qkv.bias", "down.0.project.weight")
    }
    stream = {axis.parameter for axis in vit["patches"].axes}
    assert {"positions", "patches.weight", "norms.3.weight", "perceptrons.1.3.weight", "up.0.weight"} <= stream


def test_what_cannot_be_removed_is_named_and_groups_lose_as_many_each(traced):
    channels = TracedChannels(traced["mixed"])
    assert channels.left_alone() == ("sorted", "head")
    assert channels.unknown_operations == {"sort"}
    assert {name: (group.width, group.unit) for name, group in groups(traced, "mixed")} == {
        "stem.0": (4, 4),  # a norm of four groups: each loses as many
        "widen": (8, 1),  # so do the groups of a convolution, of which each reads its own,
        "grouped": (8, 4),  # and those of a shuffle
        "gate.1": (8, 1),
        "shuffle": (16, 1),  # four pixels per channel, of which the next layer reads one
    }


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_group_can_be_halved_alone_and_costs_what_was_predicted(traced, kind):
    for name, group in groups(traced, kind):
        smaller = copy.deepcopy(traced[kind])
        kept = halved(group)
        predicted = TracedChannels(smaller).macs({name: len(kept)})
        keep_channels(smaller, {name: kept})
        assert channel_groups(smaller)[name].width == len(kept)
        assert smaller(image()).shape == traced[kind](image()).shape
        assert smaller.macs(SIZE, input_channels=2) == pytest.approx(predicted)


@pytest.mark.parametrize("kind", ["unet", "swin"])
def test_channels_that_nobody_listens_to_are_removed_without_a_trace(traced, kind):
    """With zeros in the weights that read them, the network computes the same with and without the channels."""
    whole = copy.deepcopy(traced[kind])
    hidden = {"unet": ("down0.0", "bottom.4", "up1"), "swin": ("down.0.perceptron.0", "bottom.1.qkv", "expand")}[kind]
    kept = {name: halved(group) for name, group in channel_groups(whole).items() if name in hidden}
    assert len(kept) == len(hidden)
    for name, indices in kept.items():
        for axis in channel_groups(whole)[name].axes:
            if axis.role == "read":
                values = whole.get_parameter(axis.parameter).data.movedim(axis.dimension, 0)
                values[[place for number, at in enumerate(axis.members) if number not in indices for place in at]] = 0
    smaller = copy.deepcopy(whole)
    keep_channels(smaller, kept)
    assert torch.allclose(smaller(image()), whole(image()), atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_was_pruned_trains_and_is_pruned_again(traced, kind):
    network = copy.deepcopy(traced[kind])
    for _ in range(2):
        names = channel_groups(network).keys()
        keep_channels(network, {name: halved(group) for name, group in channel_groups(network).items()})
        assert channel_groups(network).keys() == names
        statistics = {name: values.clone() for name, values in network.named_buffers() if "running" in name}
        network.train()
        network(image()).square().mean().backward()
        assert all(values.grad is not None for values in network.parameters())
        assert all(not torch.equal(values, dict(network.named_buffers())[name]) for name, values in statistics.items())
        network.eval()
        assert torch.equal(network(image()), network(image()))


def test_a_copy_does_not_share_the_graph(traced):
    before = traced["unet"](image())
    smaller = copy.deepcopy(traced["unet"])
    keep_channels(smaller, {"down0.0": [0]})
    assert torch.equal(traced["unet"](image()), before)


class Counting(nn.Module):
    """A forward that looks at numbers, which no trace can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image) if float(image.sum()) > 0 else self.layer(-image)


class TwoAnswers(Counting):
    """Two tensors for one image."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        return self.layer(image), image


@pytest.mark.parametrize(("network", "why"), [(Counting(), "cannot trace it"), (TwoAnswers(), "the logits alone")])
def test_networks_that_cannot_be_traced_are_refused_in_one_line(network, why):
    with pytest.raises(NetworkError, match=why) as refused:
        TracedNetwork.of(network, (2, SIZE, SIZE))
    assert "\n" not in str(refused.value)


def halved(group: ChannelGroup) -> range:
    """Every second channel, as far as the group may shrink."""
    return range(0, group.width, 2 if group.width >= 2 * group.least else 1)


def groups(traced: dict[str, TracedNetwork], kind: str):
    return channel_groups(traced[kind]).items()


@pytest.mark.parametrize("kind", NETWORKS)
def test_arguments_may_be_given_by_their_names(traced, kind):
    network = copy.deepcopy(traced[kind])
    named = 0
    for node in network.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op == "call_function" and schema is not None and not any(each.kwarg_only for each in schema.arguments):
            names = [each.name for each in schema.arguments]
            node.kwargs = dict(zip(names[1:], node.args[1:], strict=False))
            node.args, named = node.args[:1], named + len(node.kwargs)
    assert named
    again = TracedNetwork(network, network.graph, network.image_shape)
    torch.testing.assert_close(again(image()), traced[kind](image()))
    assert again.train(True).training
    groups = channel_groups(again.train(False)).items()
    assert groups == channel_groups(traced[kind]).items()
    widths = {name: range(max(group.least, group.width // 2)) for name, group in groups}
    pruned = copy.deepcopy(traced[kind])
    keep_channels(again, widths)
    keep_channels(pruned, widths)
    torch.testing.assert_close(again(image()), pruned(image()))


def test_multiply_accumulates_are_counted_once_until_channels_go(monkeypatch):
    network, walks = TracedNetwork.of(made("unet"), (2, SIZE, SIZE)), []
    walk = TracedNetwork.walk
    monkeypatch.setattr(TracedNetwork, "walk", lambda self: walks.append(1) or walk(self))
    whole = network.macs(SIZE, input_channels=2)
    assert network.macs(SIZE, input_channels=2) == whole
    assert len(walks) == 1
    keep_channels(network, {name: range(max(group.least, group.width // 2))
                            for name, group in channel_groups(network).items()})  # fmt: skip
    assert network.macs(SIZE, input_channels=2) < whole
