"""Quantization-aware fine-tuning: linear layers and convolutions learn with the rounding of int8."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

import torch
from torch import Tensor, nn

from embedded_vit.training.hooks import TrainingHook

__all__ = ["RoundedTraining", "rounded_input", "rounded_weight"]

Multiply = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # (values, weights, bias) -> product


class RoundedTraining(TrainingHook):
    """Rounds inputs and weights of layers as the int8 graph does; gradients ignore the rounding.

    Before the graph's weights are rounded, batch norms are folded into convolutions. Each channel has a scale of its
    own, so the rounding is the same.

    Args:
        layers: Names of the network's linear layers and convolutions; names of other modules have no effect.

    Source: straight-through estimator, Bengio et al., 1308.3432; Jacob et al., 1712.05877, section 3.
    """

    def __init__(self, layers: Collection[str]) -> None:
        self.layers = layers

    def begin(self, network: nn.Module, average: nn.Module, *, steps: int, first_step: int) -> None:
        for module in (network, average):
            for name, layer in module.named_modules():
                if name not in self.layers:
                    continue
                if isinstance(layer, nn.Linear):
                    layer.forward = partial(_rounded_linear, layer)  # type: ignore[method-assign]
                elif isinstance(layer, nn.Conv2d):  # not `forward`: mix feed-forward layers pass their own kernel
                    layer._conv_forward = partial(_rounded, layer._conv_forward)  # type: ignore[method-assign]


def rounded_weight(weight: Tensor) -> Tensor:
    """Round weights (out, ...) to 129 levels around zero, with one scale per output channel."""
    largest = weight.detach().flatten(1).abs().amax(dim=1).clamp(min=1e-12)  # (out,)
    scale = largest.reshape(-1, *[1] * (weight.ndim - 1)) / 64
    return _straight_through(weight, (weight / scale).round() * scale)


def rounded_input(values: Tensor) -> Tensor:
    """Round activations to 256 levels from the lowest to the highest value; zero is one of the levels."""
    lowest, highest = values.detach().min().clamp(max=0), values.detach().max().clamp(min=0)
    scale = (highest - lowest).clamp(min=1e-12) / 255
    zero = (-lowest / scale).round()
    return _straight_through(values, (((values / scale).round() + zero).clamp(0, 255) - zero) * scale)


def _rounded_linear(layer: nn.Linear, values: Tensor) -> Tensor:
    return _rounded(nn.functional.linear, values, layer.weight, layer.bias)


def _rounded(multiply: Multiply, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return multiply(rounded_input(values), rounded_weight(weight), bias)


def _straight_through(values: Tensor, rounded: Tensor) -> Tensor:
    return values + (rounded - values).detach() if torch.is_grad_enabled() else rounded
