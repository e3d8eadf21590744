"""The step `distill`: further training with one teacher or several."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from embedded_vit.compression.step import CutMix, Step, StepContext, StepResult
from embedded_vit.errors import ConfigError
from embedded_vit.training.checkpoint import Checkpoint, load_checkpoint
from embedded_vit.training.distillation import Distillation, Teacher

__all__ = ["Distill"]


class Distill(Step):
    """Continues to train the network with one teacher or several: runs of any size, width or context."""

    name: ClassVar[str] = "distill"

    teacher: tuple[Path, ...] = Field(min_length=1, description="run folders; a single one needs no list")
    epochs: int = Field(ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight: float = Field(default=0.5, gt=0, le=1, description="weight of the teachers in the loss")
    cutmix: CutMix = None
    unlabelled: Path | None = Field(
        default=None, description="a folder of volumes without labels, from which the network learns too"
    )

    @field_validator("teacher", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, (str, Path)) else value

    def apply(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> StepResult:
        """Continue to train with the teachers; see `Step.apply`.

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
