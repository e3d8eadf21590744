"""Eager optimizer steps: on every device, in one process or several, with hooks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from embedded_vit.training.augmentation import augment
from embedded_vit.training.batch_norm import share_batch_norms
from embedded_vit.training.hooks import Batch
from embedded_vit.training.schedule import kept_share
from embedded_vit.training.stepper import DrawnBatch, Stepper

__all__ = ["EagerStepper"]


class EagerStepper(Stepper):
    """A stepper that computes every step operation by operation.

    Each of several processes takes its own part of every batch, and gradients are averaged.
    """

    def begin(self, *, steps: int, first_step: int) -> None:
        """Let batch norms see the batches of all processes, and prepare the hooks."""
        if self.processes.count > 1:
            share_batch_norms(self.learner.network)
        super().begin(steps=steps, first_step=first_step)

    def train(self, drawn: Iterator[DrawnBatch]) -> Iterator[Tensor]:
        """Take one step for every drawn batch; the next one is distorted while gradients travel between processes."""
        batches = map(self._distorted, drawn)
        batch = next(batches, None)
        while batch is not None:
            rate = self.learning_rate(batch.step)
            loss, gradients_are_there = self._begin_step(batch)
            following = next(batches, None)
            gradients_are_there()
            self.learner.change_weights(rate, kept_share(self.training.ema_decay or 0.0, batch.step))
            for hook in self.hooks:
                hook.after_step(batch.step)
            yield loss.cpu()
            batch = following

    def _distorted(self, drawn: DrawnBatch) -> Batch:
        context_slices = self.config.preprocessing.context_slices
        images, labels = augment(self._read, drawn.indices, drawn.distortions, context_slices=context_slices)
        return Batch(images, labels, drawn.indices, drawn.distortions, drawn.step, self.learner.autocast)

    def _read(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Read slices (B,): return images (B, C, S, S) and labels (B, S, S)."""
        started = time.perf_counter()
        context_slices = self.config.preprocessing.context_slices
        batch = self.slices.tensors(indices, context_slices=context_slices, device=self.learner.device)
        self.loading_seconds += time.perf_counter() - started
        return batch

    def _begin_step(self, batch: Batch) -> tuple[Tensor, Callable[[], object]]:
        """Start a step: return the loss, and a function to call before the gradients are used."""
        learner = self.learner
        logits, loss = learner.supervision(learner.network, batch)
        for hook in self.hooks:
            loss = hook.loss(loss, logits, batch, learner.network)
        learner.parameters.forget_gradients()
        learner.scaler.scale(loss).backward()
        learner.parameters.gather_gradients()
        return loss.detach(), self.processes.begin_mean(learner.parameters.gradient)
