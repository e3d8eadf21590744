"""The training loop: epochs, validation, saving, resuming.

All random numbers come from (seed, epoch, position), and everything that changes is in `state.safetensors`, which is
written whole after each epoch. So a training that was killed resumes after its last epoch; on a CPU the results are
bit-identical.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedded_vit.boundary import one_line_errors
from embedded_vit.errors import CheckpointError, TrainingError
from embedded_vit.labels import IGNORED
from embedded_vit.training.checkpoint import (
    EpochMetrics,
    TrainingRecord,
    load_state,
    save_checkpoint,
    save_record,
    save_state,
)
from embedded_vit.training.distortion import Mirroring, draw
from embedded_vit.training.epoch_order import EpochOrder
from embedded_vit.training.journal import Journal
from embedded_vit.training.losses import at_size
from embedded_vit.training.pace import epochs_in_time
from embedded_vit.training.partial_labels import PartialSets, unmarked_structures
from embedded_vit.training.progress import TrainingListener, TrainingProgress
from embedded_vit.training.stepper import DrawnBatch, Stepper

__all__ = ["Trainer", "dice_by_case"]

PREVIEW_SLICES = 6


class Trainer:
    """The training of one network on one set of slices.

    Args:
        stepper: Computes the optimizer steps; it holds the network, the slices and the run's configuration.
        record: The record of data and split; epochs are added to it.
        folder: The run folder.
        steps_per_epoch: Optimizer steps in an epoch; by default as many as show every drawn slice once.
        seconds_limit: Time for all epochs together. A training that would take longer has fewer of them, but one.
        listener: Hears of every batch and epoch; by default a display on stderr, in the first process.
    """

    def __init__(
        self,
        stepper: Stepper,
        record: TrainingRecord,
        folder: Path,
        *,
        steps_per_epoch: int | None = None,
        seconds_limit: float | None = None,
        listener: TrainingListener | None = None,
    ) -> None:
        self.stepper, self.learner = stepper, stepper.learner
        self.slices, self.processes = stepper.slices, stepper.processes
        self.config, self.training = self.learner.config, self.learner.training
        self.record, self.folder = record, folder
        self.order = EpochOrder(self.slices, record.split.train, self.training, steps=steps_per_epoch)
        self.history: list[EpochMetrics] = []
        self.selected_epoch: int | None = None
        self.seconds_limit, self._lap_began = seconds_limit, time.perf_counter()
        self.listener = (listener or TrainingProgress()) if self.processes.leads else TrainingListener()

    @property
    def epochs(self) -> int:
        """The number of epochs: as set, or as many as fit into the time, judged by the epochs that are done."""
        return epochs_in_time([row.seconds for row in self.history], self.training.epochs, self.seconds_limit)

    def run(self) -> TrainingRecord:
        """Train the epochs that are left.

        Returns:
            The record as it stands in `training.json`.

        Raises:
            TrainingError: The loss is not finite; the message names epoch and cases.
        """
        done, leads = len(self.history), self.processes.leads
        journal = Journal(self.folder, first_epoch=done + 1) if leads else None
        steps, epochs = self.order.steps, self.epochs
        self.stepper.begin(steps=epochs * steps, first_step=done * steps)
        self._lap_began = time.perf_counter()
        with self.listener.training(epochs, done=done):
            while len(self.history) < epochs:
                epoch = len(self.history) + 1
                row = self._train_epoch(epoch).model_copy(update={"seconds": self._lap_seconds()})
                self.history.append(row)
                epochs = self.epochs
                self.stepper.total_steps = epochs * steps
                if journal:  # before the state, as a run whose last epoch is saved is never opened again
                    journal.record(self.history, last=epoch == epochs)
                    if self.stepper.draws_previews:
                        self._preview(epoch, journal)
                    self._save(epoch)
                self.listener.epoch_done(row, epochs)
        if journal:
            journal.close()
        return self._current_record()

    def resume(self) -> None:
        """Load the state of the last whole epoch.

        Raises:
            CheckpointError: The state is damaged, or another version wrote it.
        """
        tensors, metadata = load_state(self.folder)
        advice = "train again, from its weights with --init"
        with one_line_errors(self.folder, CheckpointError, what="the state is damaged", advice=advice):
            self.learner.load(tensors, source=self.folder)
            self.learner.scaler.load_state_dict(metadata["scaler"])
            self.history = [EpochMetrics.parse(row, source=str(self.folder)) for row in metadata["history"]]
            self.selected_epoch = None if metadata["selected_epoch"] is None else int(metadata["selected_epoch"])
            if [row.epoch for row in self.history] != [*range(1, len(self.history) + 1)]:
                raise ValueError("the epochs of its history do not follow each other")
            if self.selected_epoch not in (None, *range(1, len(self.history) + 1)):
                raise ValueError(f"the selected epoch is {self.selected_epoch}")
        if self.processes.leads:
            self._save_checkpoint()

    def _train_epoch(self, epoch: int) -> EpochMetrics:
        started = time.perf_counter()
        steps, order, losses = self.order.steps, self.order.indices(epoch), list[Tensor]()
        self.stepper.loading_seconds = 0.0
        self.learner.network.train()
        for loss in self.stepper.train(self._drawn(epoch, order)):
            losses.append(loss)
            if loss.device.type == "cpu":  # on a GPU, reading it would wait for it
                self._check_finite([float(loss)], epoch, order, first_step=len(losses) - 1)
            self.listener.batch_done(1 / steps)
        values = torch.stack(losses).tolist()
        self._check_finite(values, epoch, order)
        seconds = time.perf_counter() - started
        return EpochMetrics(
            epoch=epoch,
            loss=self.processes.mean(float(np.mean(values))),
            validation_dice=self._validate() if self.processes.leads else None,
            learning_rate=self.stepper.learning_rate(epoch * steps - 1),
            images_per_second=steps * self.training.batch_size / seconds,
            loading_fraction=self.stepper.loading_seconds / seconds,
            seconds=time.perf_counter() - started,
        )

    def _lap_seconds(self) -> float:
        """Return the time since this was last asked, the same in all processes: an epoch and what is written after."""
        began, self._lap_began = self._lap_began, time.perf_counter()
        return self.processes.mean(self._lap_began - began)

    def _drawn(self, epoch: int, order: NDArray[np.int64]) -> Iterator[DrawnBatch]:
        """Yield this process's part of every batch of an epoch."""
        mirror = Mirroring.of(self.config)
        for step in range(self.order.steps):
            positions = self._positions(step)
            distortions = [
                draw(
                    self.training,
                    np.random.default_rng((self.training.seed, epoch, int(position))),
                    mirror=mirror,
                    others=order,
                )
                for position in positions
            ]
            yield DrawnBatch(order[positions], distortions, (epoch - 1) * self.order.steps + step)

    def _positions(self, step: int) -> NDArray[np.int64]:
        """Return the places of this process's part of a batch in the order of the epoch."""
        positions = np.arange(step * self.training.batch_size, (step + 1) * self.training.batch_size)
        return positions[self.processes.rank :: self.processes.count]

    def _check_finite(
        self, losses: Sequence[float], epoch: int, order: NDArray[np.int64], *, first_step: int = 0
    ) -> None:
        """Raise a TrainingError at the first loss of an epoch that is not finite."""
        for step, loss in enumerate(losses, start=first_step):
            if not math.isfinite(loss):
                cases = sorted(
                    {self.slices.case_names[case] for case in self.slices.case_of[order[self._positions(step)]]}
                )
                raise TrainingError(
                    f"the loss is {loss} in epoch {epoch}, in a batch of the cases {', '.join(cases)}; "
                    "check them with `embedded-vit data`, or lower --learning-rate"
                )

    def _predict(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Predict labels on the network's grid: slices (N,) -> (N, S, S)."""
        network = self.learner.evaluated.eval()
        predicted = []
        with torch.inference_mode(), self.learner.autocast():
            for first in range(0, len(indices), self.training.batch_size):
                images, _ = self.slices.batch(
                    indices[first : first + self.training.batch_size], self.config.preprocessing.context_slices
                )
                logits = at_size(network(torch.from_numpy(images).to(self.learner.device)), images.shape[-1])
                predicted.append(logits.argmax(dim=1).to(torch.uint8).cpu().numpy())
        return np.concatenate(predicted)

    def _validate(self) -> float | None:
        """Return the mean Dice of the validation cases on the network's grid; None without validation cases."""
        scores = []
        for name in self.record.split.validation:
            indices = self.slices.indices_of([name])
            truth, sets = self.slices.labels[indices], self.config.partial_labels
            scores.extend(dice_by_case(self._predict(indices), truth, self.config.labels.classes, sets))
        return float(np.mean(scores)) if scores else None

    def _preview(self, epoch: int, journal: Journal) -> None:
        """Draw slices with structures, spread evenly over the validation cases (training cases without any)."""
        indices = self.slices.indices_of(self.record.split.validation or self.record.split.train)
        indices = indices[self.slices.with_structure(indices)]
        if not len(indices):
            return
        chosen = indices[np.linspace(0, len(indices) - 1, PREVIEW_SLICES + 2).round().astype(int)[1:-1]]
        images, truth = self.slices.batch(chosen, 1)
        journal.preview(epoch, images[:, 0], truth.astype(np.uint8), self._predict(chosen), self.config.labels)

    def _save(self, epoch: int) -> None:
        """Write the state, then weights and record; after a kill in between, `resume` writes these."""
        if all(hook.complete(epoch * self.order.steps - 1) for hook in self.stepper.hooks):
            dice = self.history[-1].validation_dice
            best = -1.0 if self.selected_epoch is None else self.history[self.selected_epoch - 1].validation_dice or 0.0
            if dice is None or dice > best:
                self.selected_epoch = epoch
        metadata = {
            "history": [row.model_dump() for row in self.history],
            "selected_epoch": self.selected_epoch,
            "scaler": self.learner.scaler.state_dict(),
        }
        save_state(self.folder, self.learner.tensors(), metadata)
        self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        """Write the weights if the latest epoch is the selected one, and the record in any case."""
        if self.selected_epoch == len(self.history):
            save_checkpoint(self.folder, self.learner.evaluated.state_dict(), self.config, self._current_record())
        else:
            save_record(self.folder, self._current_record())

    def _current_record(self) -> TrainingRecord:
        return self.record.model_copy(update={"epochs": tuple(self.history), "selected_epoch": self.selected_epoch})


def dice_by_case(
    predicted: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int, sets: PartialSets = ()
) -> list[float]:
    """Return the Dice of every structure of one case that is in at least one of the masks.

    Args:
        predicted, truth: Labels of the same shape.
        classes: K, background included.
        sets: What codes in the truth stand for. Ignored pixels and structures that nobody marked are left out.
    """
    unmarked = unmarked_structures(truth, sets) if sets else ()
    if sets:
        counted = truth != IGNORED
        predicted, truth = predicted[counted], truth[counted]
        truth = np.where(truth < classes, truth, np.uint8(0))
    pairs = np.bincount(predicted.ravel().astype(np.int64) * classes + truth.ravel(), minlength=classes**2)
    confusion = pairs.reshape(classes, classes)  # (predicted, truth)
    sizes = confusion.sum(axis=0) + confusion.sum(axis=1)
    counted_labels = [label for label in range(1, classes) if sizes[label] and label not in unmarked]
    return [float(2 * confusion[label, label] / sizes[label]) for label in counted_labels]
