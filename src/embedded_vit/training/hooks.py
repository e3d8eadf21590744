"""Hooks: what a compression step adds to the training loop."""

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
    """The data of one optimizer step.

    Attributes:
        images: (B, C, S, S) float32 in [-1, 1], distorted.
        labels: (B, S, S) int64, distorted alike.
        indices: (B,) slices of the slice set.
        distortions: One for each slice. They distort the same slice at another size in the same way.
        step: The step's number, from 0, over all epochs.
        autocast: Gives a context with the training's precision, for the networks that a hook runs.
    """

    images: Tensor
    labels: Tensor
    indices: NDArray[np.int64]
    distortions: Sequence[Distortion]
    step: int
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext


class TrainingHook:
    """A hook that does nothing; a compression step overrides the methods that it needs.

    A hook has no state that `begin` cannot restore from the network and the step's number. So a training that was
    killed resumes with the same results.
    """

    def begin(self, network: nn.Module, average: nn.Module, *, steps: int, first_step: int) -> None:
        """Prepare the hook; called once before the first epoch that is left.

        Args:
            network: The network that the optimizer changes; it holds the resumed weights already.
            average: Its averaged weights, which are validated and kept if the recipe averages.
            steps: Optimizer steps in the whole training.
            first_step: The first of them that is left.
        """

    def loss(self, loss: Tensor, logits: Tensor, batch: Batch, network: nn.Module) -> Tensor:
        """Return the loss of a step in place of `loss`; `logits` are (B, K, S, S)."""
        return loss

    def learning_rate(self, rate: float, step: int) -> float:
        """Return the learning rate of a step in place of `rate`."""
        return rate

    def after_step(self, step: int) -> None:
        """Act after a step, when the network and its average have been changed."""

    def complete(self, step: int) -> bool:
        """Return whether the network has its final form after an epoch's last step; else no weights are kept."""
        return True
