"""Roundings in training are those of the integer graph, and gradients pass them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from embedded_vit.compression.steps.rounded_training import RoundedTraining, rounded_input, rounded_weight
from embedded_vit.layers.feed_forward import MixFeedForward
from embedded_vit.models.embedded_vit import EmbeddedViT


def test_weights_lie_on_129_levels_of_their_own_channel():
    weight = torch.randn(5, 300) * torch.tensor([[0.01], [1], [100], [3], [0]])
    levels = rounded_weight(weight) / (weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 64)
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert levels.abs().max() <= 64.001


def test_inputs_lie_on_256_levels_and_zero_stays_zero():
    values = torch.cat([torch.rand(1000) * 3 - 1, torch.zeros(1)])
    rounded = rounded_input(values)
    assert len(rounded.unique()) <= 256
    assert rounded[-1] == 0
    assert (rounded - values).abs().max() <= 0.5 * 3 / 255 + 1e-6


def test_gradients_pass_as_if_nothing_were_rounded():
    values = torch.randn(10, requires_grad=True)
    rounded_input(values).sum().backward()
    assert torch.equal(values.grad, torch.ones(10))


@pytest.mark.parametrize("make", [lambda: nn.Linear(8, 8), lambda: nn.Conv2d(8, 8, 3, groups=2)])
def test_only_the_named_layers_are_rounded(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = nn.ModuleList([make(), make()])
    plain, average, values = copy.deepcopy(network), copy.deepcopy(network), torch.randn(4, 8, 8, 8)
    RoundedTraining(["0", "missing"]).begin(network, average, steps=1, first_step=0)
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert not torch.equal(network[0](values), plain[0](values))
    assert torch.equal(network[0](values), average[0](values))
    assert torch.equal(network[1](values), plain[1](values))


def test_a_folded_batch_norm_rounds_as_the_convolution_before_it() -> None:
    torch.manual_seed(0)
    weight, scale = torch.randn(8, 4, 3, 3), torch.rand(8, 1, 1, 1) + 0.5
    torch.testing.assert_close(rounded_weight(weight * scale), rounded_weight(weight) * scale)


def test_a_mix_feed_forward_layer_rounds_the_kernel_with_its_skip() -> None:
    torch.manual_seed(0)
    layer = MixFeedForward(8, 16)
    values = torch.randn(2, 16, 8)
    kernels: list[Tensor] = []
    RoundedTraining(["convolution"]).begin(layer, copy.deepcopy(layer), steps=1, first_step=0)
    with mock.patch.object(
        nn.functional, "conv2d", side_effect=lambda image, kernel, *_: kernels.append(kernel) or image
    ):
        layer(values, (4, 4))
    [kernel] = kernels
    torch.testing.assert_close(kernel, rounded_weight(layer.convolution.weight + layer.centre))
    assert not torch.equal(kernel, layer.convolution.weight + layer.centre)


def test_layers_that_a_step_changes_are_applied_in_training():
    torch.manual_seed(0)
    network = EmbeddedViT((8, 16), classes=5).train()
    image = torch.randn(1, 3, 32, 32)
    before = network(image)
    RoundedTraining(["head"]).begin(network, EmbeddedViT((8, 16), classes=5), steps=1, first_step=0)
    assert not torch.allclose(network(image), before, atol=1e-4)
