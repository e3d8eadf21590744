"""The optimizers and learning rates of the two recipes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from embedded_vit.training.flat_parameters import FlatParameters
from embedded_vit.training.settings import TrainingConfig

__all__ = ["kept_share", "learning_rate", "make_optimizer", "update_average"]


def make_optimizer(parameters: FlatParameters, config: TrainingConfig) -> torch.optim.Optimizer:
    """Make a recipe's optimizer: SGD with momentum, or AdamW without weight decay on vectors (biases, norms)."""
    matrices, vectors = parameters.matrices, parameters.vectors
    if config.recipe == "paper":
        return torch.optim.SGD(
            [matrices, vectors], lr=config.learning_rate, momentum=0.9, weight_decay=config.weight_decay
        )
    groups = [
        {"params": [matrices], "weight_decay": config.weight_decay},
        {"params": [vectors], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)


def learning_rate(step: int, steps: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step, counted from 0, of a training of `steps` steps.

    In `paper` it falls as (1 - t) ** 0.9; in `modern` it rises linearly, then falls to zero as half a cosine.
    """
    if config.recipe == "paper":
        return config.learning_rate * (1 - step / steps) ** 0.9
    warmup = max(1, round(config.warmup_fraction * steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def kept_share(decay: float, step: int) -> float:
    """Return the share that averaged weights keep in a step, counted from 0; less than `decay` at first."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: FlatParameters, current: FlatParameters, *, kept: float | Tensor) -> None:
    """Move averaged weights towards the current ones, and copy the network's buffers.

    Args:
        average, current: The parameters of two equal networks; the first are changed.
        kept: The share that the average keeps of itself, as `kept_share` returns it.
    """
    share = 1 - kept
    average.vector.lerp_(current.vector, share.to(average.vector.dtype) if isinstance(share, Tensor) else share)
    for averaged, buffer in zip(average.buffers, current.buffers, strict=True):
        averaged.copy_(buffer)  # the statistics of a batch norm are averages already
