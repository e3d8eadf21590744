"""Distillation: a network learns what other networks say of the same slices, besides what the labels say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from embedded_vit.compression.step import CutMix, Step, StepContext, StepResult
from embedded_vit.errors import ConfigError
from embedded_vit.training.augmentation import augment, draw
from embedded_vit.training.checkpoint import Checkpoint, load_checkpoint
from embedded_vit.training.hooks import Batch, TrainingHook
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.slices import SliceSet

__all__ = ["Distill", "Distillation", "Teacher", "distillation_loss", "softened"]

TEMPERATURE = 2.0
BOUNDARY_WEIGHT = 4.0  # a pixel at the edge of a structure counts as five


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network, and the slices as it sees them.

    Attributes:
        network: Maps (B, C, T, T) to (B, K, T, T) logits.
        slices: The student's slices on the teacher's grid, in the same order; None where both see the same images.
        context_slices: What the teacher sees of them.
        unlabelled: The unlabelled slices on the teacher's grid; None where there are none, or as above.
    """

    network: nn.Module
    slices: SliceSet | None = None
    context_slices: int = 1
    unlabelled: SliceSet | None = None

    def probabilities(self, images: Tensor, own: SliceSet | None, batch: Batch) -> Tensor:
        """Softened probabilities (B, K, S, S) of a batch.

        Args:
            images: (B, C, S, S), the student's.
            own: Where the teacher finds the same slices on its own grid, to be distorted in the same way.
            batch: Says which slices, and how they were distorted.
        """
        size = images.shape[-1]
        if own is not None:
            read = partial(own.tensors, context_slices=self.context_slices, device=images.device)
            images, _ = augment(read, batch.indices, batch.distortions)
        with torch.no_grad():
            with batch.autocast():
                logits = self.network(images)
            return softened(logits, size)


class Distillation(TrainingHook):
    """Mixes the task's loss with the distance to the teachers' mean opinion.

    Args:
        teachers: One or more; their softened probabilities are averaged.
        weight: Of the teachers in the loss, in [0, 1]; the labels have the rest.
        unlabelled: Slices without labels, of which as many as there are labelled ones go into every step.
        config: The student's; only needed with unlabelled slices.
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
        opinions = [teacher.probabilities(batch.images, teacher.slices, batch) for teacher in self.teachers]
        taught = distillation_loss(logits, torch.stack(opinions).mean(dim=0))
        if self.unlabelled is not None:
            taught = (taught + self._unlabelled_loss(self.unlabelled, batch, network)) / 2
        return (1 - self.weight) * loss + self.weight * taught

    def _unlabelled_loss(self, slices: SliceSet, batch: Batch, network: nn.Module) -> Tensor:
        assert self.config is not None
        training = self.config.training
        random = np.random.default_rng((training.seed, batch.step))
        indices = random.integers(len(slices), size=len(batch.indices))
        everyone = np.arange(len(slices))
        distortions = [draw(training, random, mirror=self.config.labels.mirror, others=everyone) for _ in indices]
        context_slices = self.config.preprocessing.context_slices
        read = partial(slices.tensors, context_slices=context_slices, device=batch.images.device)
        images, labels = augment(read, indices, distortions)
        drawn = replace(batch, images=images, labels=labels, indices=indices, distortions=distortions)
        opinions = [teacher.probabilities(images, teacher.unlabelled, drawn) for teacher in self.teachers]
        with batch.autocast():
            logits = network(images)
        return distillation_loss(logits, torch.stack(opinions).mean(dim=0))


def softened(logits: Tensor, size: int) -> Tensor:
    """A teacher's probabilities on the student's grid: logits (B, K, T, T) -> (B, K, S, S)."""
    soft = (logits.float() / TEMPERATURE).softmax(dim=1)
    if soft.shape[-1] > size:
        soft = functional.adaptive_avg_pool2d(soft, size)
    elif soft.shape[-1] < size:
        soft = functional.interpolate(soft, size=(size, size), mode="bilinear", align_corners=False)
    return soft


def distillation_loss(logits: Tensor, taught: Tensor) -> Tensor:
    """The Kullback-Leibler divergence from the teachers' to the student's softened probabilities, edges counting more.

    Args:
        logits: (B, K, S, S), the student's.
        taught: (B, K, S, S), the teachers' probabilities at the same temperature.

    Returns:
        A scalar, times the squared temperature, so that its gradients do not depend on it.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 1503.02531.
    """
    student = (logits.float() / TEMPERATURE).log_softmax(dim=1)
    divergence = functional.kl_div(student, taught, reduction="none").sum(dim=1)  # (B, S, S)
    weights = 1 + BOUNDARY_WEIGHT * _edges(taught.argmax(dim=1))
    return TEMPERATURE**2 * (weights * divergence).sum() / weights.sum()


def _edges(labels: Tensor) -> Tensor:
    """(B, S, S) labels -> 1 where the 3 x 3 neighbourhood holds more than one label, else 0."""
    values = labels[:, None].float()
    highest = functional.max_pool2d(values, 3, stride=1, padding=1)
    lowest = -functional.max_pool2d(-values, 3, stride=1, padding=1)
    return (highest != lowest)[:, 0].float()


class Distill(Step):
    """Trains the network on with one teacher or several: runs of any size, width or context."""

    name: ClassVar[str] = "distill"

    teacher: tuple[Path, ...] = Field(min_length=1, description="run folders; one may be given without a list")
    epochs: int = Field(ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight: float = Field(default=0.5, gt=0, le=1, description="of the teachers in the loss")
    cutmix: CutMix = None
    unlabelled: Path | None = Field(default=None, description="a folder of volumes without labels to learn from too")

    @field_validator("teacher", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, (str, Path)) else value

    def apply(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> StepResult:
        """Train on; see `Step.apply`.

        Raises:
            ConfigError: A teacher segments other structures, or sees other channels.
        """
        unlabelled = None
        if self.unlabelled is not None:
            unlabelled = context.unlabelled_slices(self.unlabelled, before.config.preprocessing)
        teachers = [self._teacher(path, before, context) for path in self.teacher]
        config = before.config.with_training(cutmix=self.cutmix)
        hook = Distillation(teachers, self.weight, unlabelled=unlabelled, config=config)
        after = context.train(
            before, folder, epochs=self.epochs, learning_rate=self.learning_rate, hooks=[hook], config=config
        )
        facts = {"teachers": [str(path) for path in self.teacher]}
        return StepResult(after, facts=facts)

    def _teacher(self, path: Path, before: Checkpoint, context: StepContext) -> Teacher:
        teacher = load_checkpoint(path)
        ours, theirs = before.config, teacher.config
        if theirs.labels.names != ours.labels.names or theirs.preprocessing.channels != ours.preprocessing.channels:
            raise ConfigError(f"distill: the teacher {path} segments other structures or sees other channels")
        unlabelled = None
        if self.unlabelled is not None:
            unlabelled = context.unlabelled_slices(self.unlabelled, theirs.preprocessing)
        slices = context.slices_for(theirs.preprocessing)
        return Teacher(teacher.network, slices, theirs.preprocessing.context_slices, unlabelled)
