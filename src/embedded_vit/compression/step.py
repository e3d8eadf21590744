"""The base of all compression steps: settings that turn a checkpoint into a smaller one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from embedded_vit.artifact.manifest import GraphPrecision
from embedded_vit.config import Config
from embedded_vit.datasets import open_data_set_like
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.datasets.identity import data_content
from embedded_vit.datasets.unlabelled import open_unlabelled
from embedded_vit.engines import Engine, EngineChoice
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import Checkpoint, load_checkpoint
from embedded_vit.training.eager_stepper import EagerStepper
from embedded_vit.training.hooks import TrainingHook
from embedded_vit.training.loop import dice_by_case
from embedded_vit.training.progress import TrainingListener
from embedded_vit.training.run import open_run
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.slices import SliceSet, prepare_slices, remove_slices

__all__ = ["CutMix", "Step", "StepContext", "StepResult"]

PROBE_BATCH = 8

CutMix = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="fraction of the slices that get a rectangle of another slice; None: as the network was trained",
    ),
]


@dataclass(frozen=True, eq=False)
class StepResult:
    """The result of a step.

    Attributes:
        checkpoint: The network, ready for the next step.
        graph: A serialized ONNX model where the step makes one itself; None where the checkpoint is to be exported.
        precision: The precision of the graph, as the manifest states it.
        facts: What the step reports: JSON values by name, for `compression.json`.
    """

    checkpoint: Checkpoint
    graph: bytes | None = None
    precision: GraphPrecision = "fp32"
    facts: dict[str, Any] = field(default_factory=dict)


class Step(Config):
    """One step: its settings, and how it is applied."""

    name: ClassVar[str]

    def apply(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> StepResult:
        """Apply the step to a network.

        Args:
            before: The network after the previous step; not changed.
            context: The data, the training loop and a quick score.
            folder: The step's own folder; a step that was killed continues from what it wrote there.
            protected: Units that must not change.
        """
        raise NotImplementedError

    def units(self, before: Checkpoint) -> tuple[str, ...]:
        """Return the parts of the network that the step treats one by one and may leave out; none by default."""
        return ()

    def damaged(self, before: Checkpoint, unit: str, context: StepContext) -> Engine:
        """Return the network with only this unit treated, untrained: its loss of Dice is the unit's sensitivity."""
        raise NotImplementedError


class StepContext:
    """What the steps share: the data of the run that is compressed, the training loop, and a quick score.

    Args:
        data_folder: The data set.
        original: The run that is compressed.
        folder: Where prepared slices and the steps' own folders go.
        device: Where to train.
        threads: Threads to compute on.
        engine: The engine that latency is measured in.
        listener: Hears of the steps' trainings; by default each has a display on stderr.
        seconds_an_epoch: What an epoch of the steps' trainings may take on average; see `Trainer`. None: any time.
    """

    def __init__(
        self,
        data_folder: Path,
        original: Checkpoint,
        folder: Path,
        *,
        device: str = "cpu",
        threads: int,
        engine: EngineChoice = "onnxruntime",
        listener: TrainingListener | None = None,
        seconds_an_epoch: float | None = None,
    ) -> None:
        self.data_set: DataSet = open_data_set_like(data_folder, original.config.labels.names)
        self.original, self.folder, self.device, self.threads = original, folder, device, threads
        self.engine: EngineChoice = engine
        self.listener, self.seconds_an_epoch = listener, seconds_an_epoch

    @property
    def split_names(self) -> list[str]:
        """Training and validation cases, in the order of their slices."""
        split = self.original.record.split
        return sorted(split.train + split.validation)

    @cached_property
    def files_sha256(self) -> str:
        """Digest of the files of all cases of the original's split that are in the data set."""
        there = {case.name for case in self.data_set.cases}
        return data_content(self.data_set, there.intersection(self.original.record.split.names("all")))

    @cached_property
    def slices(self) -> SliceSet:
        """Training and validation slices on the original network's grid."""
        return self.slices_for(self.original.config.preprocessing)

    def slices_for(self, preprocessing: Preprocessing) -> SliceSet:
        """Prepare the same slices, in the same order, on another network's grid."""
        folder = self.folder / f"cache-{preprocessing.image_size}"
        return prepare_slices(self.data_set, self.split_names, preprocessing, folder)

    def unlabelled_slices(self, scans: Path, preprocessing: Preprocessing) -> SliceSet:
        """Prepare the slices of a folder of scans without masks on a network's grid."""
        data_set = open_unlabelled(scans, preprocessing, self.original.config.labels)
        names = [case.name for case in data_set.cases]
        folder = self.folder / f"cache-unlabelled-{preprocessing.image_size}"
        return prepare_slices(data_set, names, preprocessing, folder, labelled=False)

    @property
    def gate_cases(self) -> tuple[str, ...]:
        """The cases that the gate looks at: validation cases, or training cases if there are none; never test cases."""
        split = self.original.record.split
        return split.validation or split.train

    def train(
        self,
        checkpoint: Checkpoint,
        folder: Path,
        *,
        epochs: int,
        learning_rate: float,
        hooks: Sequence[TrainingHook] = (),
        config: RunConfig | None = None,
    ) -> Checkpoint:
        """Continue to train a network; a training that was killed is resumed, a finished one is read.

        Args:
            checkpoint: The network to start from.
            folder: The training's run folder.
            epochs, learning_rate: Replace those of the original training; all other settings stay.
            hooks: What the step adds to the training.
            config: Replaces the checkpoint's, where the network has another form or is trained in another way.
        """
        config = (config or checkpoint.config).with_training(epochs=epochs, learning_rate=learning_rate)
        trainer = open_run(
            *(folder, config, self.slices, checkpoint.record.split),
            data_folder=self.data_set.folder,
            network=copy.deepcopy(checkpoint.network),
            device=self.device,
            listener=self.listener,
            seconds_limit=None if self.seconds_an_epoch is None else epochs * self.seconds_an_epoch,
            make_stepper=partial(EagerStepper, hooks=hooks),
        )
        trainer.run()
        return load_checkpoint(folder)

    def probe_images(self, count: int) -> list[NDArray[np.float32]]:
        """Return `count` training slices with structures, evenly spread: each (1, C, S, S) float32."""
        context_slices = self.original.config.preprocessing.context_slices
        return [self.slices.batch(np.array([index]), context_slices)[0] for index in self.probe_indices(count)]

    def probe_indices(self, count: int) -> NDArray[np.int64]:
        """Return the indices of `count` training slices with structures, evenly spread; of all if there are fewer."""
        indices = self.slices.indices_of(self.original.record.split.train)
        indices = indices[self.slices.with_structure(indices)]
        return indices[np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)]

    def clear(self) -> None:
        """Delete the prepared slices."""
        for cache in self.folder.glob("cache-*"):
            remove_slices(cache)

    def quick_dice(self, engine: Engine, *, every: int = 4) -> float:
        """Return the mean Dice on every `every`-th slice of the gate's cases, on the network's grid; a quick score."""
        scores: list[float] = []
        preprocessing, classes = self.original.config.preprocessing, self.original.config.labels.classes
        for name in self.gate_cases:
            indices = self.slices.indices_of([name])[::every]
            predicted = []
            for first in range(0, len(indices), PROBE_BATCH):
                images, _ = self.slices.batch(indices[first : first + PROBE_BATCH], preprocessing.context_slices)
                logits = preprocessing.on_input_grid(engine.run(images))  # (batch, K, S, S)
                predicted.append(logits.argmax(axis=1).astype(np.uint8))
            sets = self.original.config.partial_labels
            scores.extend(dice_by_case(np.concatenate(predicted), self.slices.labels[indices], classes, sets))
        return float(np.mean(scores))
