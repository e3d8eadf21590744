"""A module whose parameters are views of one vector."""

from __future__ import annotations

import torch
from torch import nn

from embedded_vit.training.flat_parameters import FlatParameters


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4))


def test_the_module_keeps_its_values_and_follows_the_vector():
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    flat = FlatParameters(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert flat.vector.numel() == sum(parameter.numel() for parameter in network.parameters())
    assert flat.matrices.numel() == network[0].weight.numel() + network[3].weight.numel()
    with torch.no_grad():
        flat.matrices += 1
        network[3].bias.zero_()
    torch.testing.assert_close(network[0].weight, before["0.weight"] + 1)
    assert torch.equal(flat.vector[-4:], torch.zeros(4))
    assert torch.equal(flat.vectors[-4:], torch.zeros(4))


def test_an_optimizer_of_the_vector_does_what_one_of_the_parameters_does():
    apart, together = small_network(), small_network()
    flat = FlatParameters(together)
    optimizers = [
        torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.3)
        for parameters in (apart.parameters(), [flat.matrices, flat.vectors])
    ]
    for step in range(3):
        image = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(step))
        for network, optimizer in zip((apart, together), optimizers, strict=True):
            for parameter in network.parameters():
                parameter.grad = None
            network(image).square().sum().backward()
            if network is together:
                flat.gather_gradients()
            optimizer.step()
    for name, tensor in apart.state_dict().items():
        torch.testing.assert_close(together.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)


def test_frozen_parameters_stay_out_of_it_and_missing_gradients_are_zero():
    network = small_network()
    network[0].requires_grad_(False)
    flat = FlatParameters(network)
    assert flat.matrices.numel() == network[3].weight.numel()
    network[3].weight.grad = torch.ones(4, 3)
    flat.gather_gradients()
    assert flat.gradient.tolist() == [1.0] * 12 + [0.0] * 10
    flat.forget_gradients()
    assert network[3].weight.grad is None
    assert flat.matrices.grad is not None
