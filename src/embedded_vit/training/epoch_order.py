"""The slices that an epoch shows, and their order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.slices import SliceSet

__all__ = ["EpochOrder"]


class EpochOrder:
    """The order of slices in every epoch, drawn from the seed and the epoch's number.

    An epoch shows every slice that has a structure and a share of those that have none, shuffled, in whole batches.

    Args:
        slices: All slices of the run.
        names: The training cases.
        training: Seed, batch size and the share of empty slices.
        steps: Optimizer steps in an epoch; by default as many as show every drawn slice once.

    Attributes:
        steps_of_a_pass: Optimizer steps that show every drawn slice once.
        steps: Optimizer steps in an epoch.
    """

    def __init__(
        self, slices: SliceSet, names: Sequence[str], training: TrainingConfig, *, steps: int | None = None
    ) -> None:
        self.training = training
        indices = slices.indices_of(names)
        has_structure = slices.with_structure(indices)
        self.with_structure, self.empty = indices[has_structure], indices[~has_structure]
        self.steps_of_a_pass = len(self._one_pass(1)) // training.batch_size
        self.steps = self.steps_of_a_pass if steps is None else steps

    def indices(self, epoch: int) -> NDArray[np.int64]:
        """Return the slices of an epoch: (steps * batch size,) indices into the slice set."""
        return np.resize(self._one_pass(epoch), self.steps * self.training.batch_size)

    def _one_pass(self, epoch: int) -> NDArray[np.int64]:
        """Return the drawn slices once; the last batch is filled up with the first ones."""
        random = np.random.default_rng((self.training.seed, epoch))
        kept = random.permutation(self.empty)[: round(self.training.empty_slice_weight * len(self.empty))]
        order = random.permutation(np.concatenate([self.with_structure, kept]))
        batches = math.ceil(len(order) / self.training.batch_size)
        return np.resize(order, batches * self.training.batch_size)
