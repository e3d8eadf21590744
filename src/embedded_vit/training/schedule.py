"""The optimizers and learning rates of the two recipes."""

from __future__ import annotations

import math

import torch

from embedded_vit.training.flat_parameters import FlatParameters
from embedded_vit.training.settings import TrainingConfig

__all__ = ["learning_rate", "make_optimizer", "update_average"]


def make_optimizer(parameters: FlatParameters, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD with momentum for `paper`, AdamW for `modern`, which spares vectors (biases, norms) from weight decay."""
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
    """The learning rate of a step, of `steps` in all.

    `paper` falls as (1 - t) ** 0.9; `modern` rises linearly, then falls as half a cosine to zero.
    """
    if config.recipe == "paper":
        return config.learning_rate * (1 - step / steps) ** 0.9
    warmup = max(1, round(config.warmup_fraction * steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def update_average(average: FlatParameters, current: FlatParameters, *, decay: float, step: int) -> None:
    """Move averaged weights towards the current ones, faster in the first steps, and copy the network's buffers.

    Args:
        average, current: Of two networks of one form; the first is changed.
        decay: What the average keeps of itself in a step.
        step: From 0.
    """
    decay = min(decay, (1 + step) / (10 + step))
    average.vector.lerp_(current.vector, 1 - decay)
    for kept, buffer in zip(average.buffers, current.buffers, strict=True):
        kept.copy_(buffer)  # a batch norm's statistics are averages already
