"""Quantisation-aware fine-tuning: linear layers learn with the roundings that integers will bring."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import torch
from torch import Tensor, nn

from embedded_vit.training.hooks import TrainingHook

__all__ = ["RoundedTraining", "rounded_input", "rounded_weight"]


class RoundedTraining(TrainingHook):
    """Rounds inputs and weights of linear layers as the integer graph does; gradients pass as if it did not.

    Args:
        layers: Names of the network's linear layers; names of other modules are left alone.

    Source: straight-through estimator, Bengio et al., 1308.3432; Jacob et al., 1712.05877, section 3.
    """

    def __init__(self, layers: Collection[str]) -> None:
        self.layers = layers

    def begin(self, network: nn.Module, average: nn.Module, *, steps: int, first_step: int) -> None:
        for module in (network, average):
            for name, layer in module.named_modules():
                if isinstance(layer, nn.Linear) and name in self.layers:
                    layer.forward = partial(_rounded_linear, layer)  # type: ignore[method-assign]


def rounded_weight(weight: Tensor) -> Tensor:
    """(out, in) weights on 129 levels around zero, one scale an output channel."""
    scale = weight.detach().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 64  # (out, 1)
    return _straight_through(weight, (weight / scale).round() * scale)


def rounded_input(values: Tensor) -> Tensor:
    """Activations on 256 levels from the lowest to the highest, zero being one of them."""
    lowest, highest = values.detach().min().clamp(max=0), values.detach().max().clamp(min=0)
    scale = (highest - lowest).clamp(min=1e-12) / 255
    zero = (-lowest / scale).round()
    return _straight_through(values, (((values / scale).round() + zero).clamp(0, 255) - zero) * scale)


def _rounded_linear(layer: nn.Linear, values: Tensor) -> Tensor:
    return nn.functional.linear(rounded_input(values), rounded_weight(layer.weight), layer.bias)


def _straight_through(values: Tensor, rounded: Tensor) -> Tensor:
    return values + (rounded - values).detach() if torch.is_grad_enabled() else rounded
