"""What a compression step adds to the one training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from embedded_vit.training.distortion import Distortion

__all__ = ["Batch", "TrainingHook"]


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step of the optimizer learns from.

    Attributes:
        images: (B, C, S, S) float32 in [-1, 1], distorted.
        labels: (B, S, S) int64, distorted alike.
        indices: (B,) slices of the slice set.
        distortions: One a slice: the same slice at another size is distorted alike by them.
        step: The step's number, from 0, over all epochs.
        autocast: Enters the training's precision, for the networks that a hook runs.
    """

    images: Tensor
    labels: Tensor
    indices: NDArray[np.int64]
    distortions: Sequence[Distortion]
    step: int
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext


class TrainingHook:
    """Every method does nothing; a step overrides what it needs.

    A hook keeps no state of its own that `begin` could not find again from the network and the step's number, so that
    a training killed at any moment goes on as if it had not been.
    """

    def begin(self, network: nn.Module, average: nn.Module, *, steps: int, first_step: int) -> None:
        """Called once before the first epoch that is left.

        Args:
            network: What the optimizer changes; resumed weights are in it already.
            average: Its averaged weights, which are validated and kept where the recipe averages.
            steps: Of the optimizer in the whole training.
            first_step: The first of them that is left.
        """

    def loss(self, loss: Tensor, logits: Tensor, batch: Batch, network: nn.Module) -> Tensor:
        """Change a step's loss; `logits` are (B, K, S, S)."""
        return loss

    def learning_rate(self, rate: float, step: int) -> float:
        """Change a step's learning rate."""
        return rate

    def after_step(self, step: int) -> None:
        """Called when a step has changed the network and its average."""

    def complete(self, step: int) -> bool:
        """Whether the network is, after an epoch's last step, what it should become; else that epoch is never kept."""
        return True
