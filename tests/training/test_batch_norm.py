"""Batch norms that share their statistics are PyTorch's own where there is one process."""

from __future__ import annotations

import copy

import torch
from torch import nn

from embedded_vit.training.batch_norm import share_batch_norms


def test_alone_they_compute_learn_and_remember_the_same() -> None:
    torch.manual_seed(0)
    usual = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU())
    nn.init.normal_(usual[1].weight)
    shared = copy.deepcopy(usual)
    share_batch_norms(shared)
    for _ in range(3):
        images = 3 * torch.randn(4, 3, 8, 8) + 1
        expected, found = usual(images), shared(images)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        weights = torch.randn_like(expected)
        for network, result in ((usual, expected), (shared, found)):
            network.zero_grad()
            (result * weights).sum().backward()
        for one, other in zip(usual.parameters(), shared.parameters(), strict=True):
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-4)
    for name, statistic in usual[1].named_buffers():
        torch.testing.assert_close(shared[1].get_buffer(name), statistic, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shared.eval()(images), usual.eval()(images), rtol=1e-4, atol=1e-5)
