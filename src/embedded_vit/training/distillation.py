"""Distillation: a network learns from the labels and from the answers of other networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.training.augmentation import augment
from embedded_vit.training.distortion import Mirroring, draw
from embedded_vit.training.hooks import Batch, TrainingHook
from embedded_vit.training.losses import at_size
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.slices import SliceSet

__all__ = ["Distillation", "Teacher", "distillation_loss", "softened"]

TEMPERATURE = 2.0
BOUNDARY_WEIGHT = 4.0  # a pixel at the edge of a structure counts as five


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network, and the slices as it sees them.

    Attributes:
        network: Maps (B, C, T, T) to (B, K, T, T) logits.
        slices: The student's slices on the teacher's grid, in the same order; None where both see the same images.
        context_slices: 1 or 3, the slices that the teacher sees at a time.
        unlabelled: The unlabelled slices on the teacher's grid; None where there are none, or where both see the same.
    """

    network: nn.Module
    slices: SliceSet | None = None
    context_slices: int = 1
    unlabelled: SliceSet | None = None

    def probabilities(self, images: Tensor, own: SliceSet | None, batch: Batch) -> Tensor:
        """Return the softened probabilities of a batch: (B, K, S, S) on the student's grid.

        Args:
            images: (B, C, S, S), the images of the student.
            own: The same slices on the teacher's grid, to be distorted in the same way; None to take `images`.
            batch: The slices' indices and distortions.
        """
        size = images.shape[-1]
        if own is not None:
            read = partial(own.tensors, context_slices=self.context_slices, device=images.device)
            images, _ = augment(read, batch.indices, batch.distortions, context_slices=self.context_slices)
        with torch.no_grad():
            with batch.autocast():
                logits = self.network(images)
            return softened(logits, size)


class Distillation(TrainingHook):
    """A hook that mixes the loss against the labels with the distance to the teachers' mean answer.

    Args:
        teachers: One or more; their softened probabilities are averaged.
        weight: Weight of the teachers in the loss, in [0, 1]; the rest is the weight of the labels.
        unlabelled: Slices without labels; every step takes as many of them as labelled ones.
        config: The student's configuration; only needed with unlabelled slices.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        weight: float,
        *,
        unlabelled: SliceSet | None = None,
        config: RunConfig | None = None,
    ) -> None:
        self.teachers, self.weight, self.unlabelled, self.config = teachers, weight, unlabelled, config

    def begin(self, network: nn.Module, average: nn.Module, *, steps: int, first_step: int) -> None:
        device = next(network.parameters()).device
        for teacher in self.teachers:
            teacher.network.to(device).eval()

    def loss(self, loss: Tensor, logits: Tensor, batch: Batch, network: nn.Module) -> Tensor:
        answers = [teacher.probabilities(batch.images, teacher.slices, batch) for teacher in self.teachers]
        distance = distillation_loss(logits, torch.stack(answers).mean(dim=0))
        if self.unlabelled is not None:
            distance = (distance + self._unlabelled_loss(self.unlabelled, batch, network)) / 2
        return self.mixed(loss, distance)

    def mixed(self, loss: Tensor, distance: Tensor) -> Tensor:
        """Mix the loss against the labels with the distance to the teachers, both scalars."""
        return (1 - self.weight) * loss + self.weight * distance

    def _unlabelled_loss(self, slices: SliceSet, batch: Batch, network: nn.Module) -> Tensor:
        assert self.config is not None
        training = self.config.training
        random = np.random.default_rng((training.seed, batch.step))
        indices = random.integers(len(slices), size=len(batch.indices))
        everyone = np.arange(len(slices))
        mirror = Mirroring.of(self.config)
        distortions = [draw(training, random, mirror=mirror, others=everyone) for _ in indices]
        context_slices = self.config.preprocessing.context_slices
        read = partial(slices.tensors, context_slices=context_slices, device=batch.images.device)
        images, labels = augment(read, indices, distortions, context_slices=context_slices)
        drawn = replace(batch, images=images, labels=labels, indices=indices, distortions=distortions)
        answers = [teacher.probabilities(images, teacher.unlabelled, drawn) for teacher in self.teachers]
        with batch.autocast():
            logits = network(images)
        return distillation_loss(logits, torch.stack(answers).mean(dim=0))


def softened(logits: Tensor, size: int) -> Tensor:
    """Return a teacher's softened probabilities on the student's grid: logits (B, K, T, T) -> (B, K, S, S)."""
    soft = (logits.float() / TEMPERATURE).softmax(dim=1)
    if soft.shape[-1] > size:
        return functional.adaptive_avg_pool2d(soft, size)
    return at_size(soft, size)


def distillation_loss(logits: Tensor, taught: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence from the teachers' to the student's softened probabilities.

    A pixel at the edge of a structure counts five times.

    Args:
        logits: (B, K, T, T), the student's; enlarged to S where T is less.
        taught: (B, K, S, S), the teachers' probabilities at the same temperature.

    Returns:
        A scalar, times the squared temperature, so that the size of the gradients does not depend on the temperature.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 1503.02531.
    """
    student = (at_size(logits.float(), taught.shape[-1]) / TEMPERATURE).log_softmax(dim=1)
    divergence = functional.kl_div(student, taught, reduction="none").sum(dim=1)  # (B, S, S)
    weights = 1 + BOUNDARY_WEIGHT * _edges(taught.argmax(dim=1))
    return TEMPERATURE**2 * (weights * divergence).sum() / weights.sum()


def _edges(labels: Tensor) -> Tensor:
    """Mark the edges of labels (B, S, S): 1 where the 3 x 3 neighbourhood holds more than one label, else 0."""
    values = labels[:, None].float()
    highest = functional.max_pool2d(values, 3, stride=1, padding=1)
    lowest = -functional.max_pool2d(-values, 3, stride=1, padding=1)
    return (highest != lowest)[:, 0].float()
