"""The interface between the training loop and the ways to compute an optimizer step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from embedded_vit.training.distortion import Distortion
from embedded_vit.training.hooks import TrainingHook
from embedded_vit.training.learner import Learner
from embedded_vit.training.processes import Processes
from embedded_vit.training.schedule import learning_rate
from embedded_vit.training.slices import SliceSet

__all__ = ["DrawnBatch", "MakeStepper", "Stepper"]


@dataclass(frozen=True, eq=False)
class DrawnBatch:
    """A batch before its images are read, as the loop draws it for one optimizer step.

    Attributes:
        indices: (B,) slices of the slice set.
        distortions: B of them.
        step: The step's number, from 0, over all epochs.
    """

    indices: NDArray[np.int64]
    distortions: Sequence[Distortion]
    step: int


class Stepper(ABC):
    """The base of all ways to turn drawn batches into optimizer steps.

    Args:
        learner: The state that every step changes, and the run's configuration.
        slices: The slices of the training and validation cases.
        processes: This process among all that train together.
        hooks: What a compression step adds.

    Attributes:
        draws_previews: Whether an epoch takes long enough to draw a picture of its predictions afterwards.
        loading_seconds: Time spent on reading slices since the loop last set it to zero.
    """

    draws_previews: ClassVar[bool] = True

    def __init__(
        self, learner: Learner, slices: SliceSet, processes: Processes, hooks: Sequence[TrainingHook] = ()
    ) -> None:
        self.learner, self.slices, self.processes, self.hooks = learner, slices, processes, hooks
        self.config, self.training = learner.config, learner.training
        self.loading_seconds = 0.0
        self.total_steps = 0

    def begin(self, *, steps: int, first_step: int) -> None:
        """Prepare for the steps that are left; the learner holds resumed weights already.

        Args:
            steps: Optimizer steps in the whole training.
            first_step: The first of them that is left.
        """
        self.total_steps = steps
        for hook in self.hooks:
            hook.begin(self.learner.network, self.learner.average, steps=steps, first_step=first_step)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        rate = learning_rate(step, self.total_steps, self.training)
        for hook in self.hooks:
            rate = hook.learning_rate(rate, step)
        return rate

    @abstractmethod
    def train(self, drawn: Iterator[DrawnBatch]) -> Iterator[Tensor]:
        """Take one optimizer step for every drawn batch, and yield its loss.

        The loss is a scalar on the CPU, or on the GPU, where its computation may not be finished yet.
        """


class MakeStepper(Protocol):
    """A function that makes the stepper of a run."""

    def __call__(self, learner: Learner, slices: SliceSet, processes: Processes) -> Stepper: ...
