"""The last layers as one function in training: the values and gradients of the layers one after another."""

from __future__ import annotations

import torch
from torch import nn

from embedded_vit.compression.steps.rounded_training import RoundedTraining
from embedded_vit.layers.patches import PatchExpanding
from embedded_vit.layers.token_logits import _SquaredLength
from embedded_vit.models.embedded_vit import EmbeddedViT


def test_values_and_gradients_are_those_of_the_layers():
    torch.manual_seed(0)
    expanding, head = PatchExpanding(12, 8, scale=4), nn.Linear(8, 5)
    nn.init.uniform_(expanding.norm.weight, 0.5, 1.5)
    nn.init.normal_(expanding.norm.bias)
    tokens, towards = torch.randn(2, 6, 12, requires_grad=True), torch.randn(2, 96, 5)
    inputs = [tokens, *expanding.parameters(), *head.parameters()]
    (found, size), (expected, expected_size) = (
        expanding.train(training)(tokens, (2, 3), head) for training in (True, False)
    )
    assert size == expected_size == (8, 12)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, towards), torch.autograd.grad(expected, inputs, towards), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_squared_lengths_agrees_with_differences():
    features = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    difference, towards = 1e-3, torch.randn(3, 4, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(_SquaredLength.apply(features).sum(), features)
    ahead, behind = (_SquaredLength.apply(features + side * difference * towards).sum() for side in (1, -1))
    torch.testing.assert_close(
        (gradient * towards).sum().float(), (ahead - behind) / (2 * difference), rtol=1e-3, atol=0
    )


def test_layers_that_a_step_changes_are_applied_in_training():
    torch.manual_seed(0)
    network = EmbeddedViT((8, 16), classes=5).train()
    image = torch.randn(1, 3, 32, 32)
    before = network(image)
    RoundedTraining(["head"]).begin(network, EmbeddedViT((8, 16), classes=5), steps=1, first_step=0)
    assert not torch.allclose(network(image), before, atol=1e-4)
