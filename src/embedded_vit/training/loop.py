"""The one training loop.

Everything random comes from (seed, epoch, position), and everything that changes is in `state.safetensors`, written
whole after each epoch: a training killed at any moment goes on from its last epoch with bit-identical results on CPU.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedded_vit.errors import CheckpointError, TrainingError
from embedded_vit.training.augmentation import Distortion, augment, draw
from embedded_vit.training.batch_norm import share_batch_norms
from embedded_vit.training.checkpoint import (
    EpochMetrics,
    TrainingRecord,
    load_state,
    save_checkpoint,
    save_record,
    save_state,
)
from embedded_vit.training.epoch_order import EpochOrder
from embedded_vit.training.flat_parameters import FlatParameters
from embedded_vit.training.hooks import Batch, TrainingHook
from embedded_vit.training.journal import Journal
from embedded_vit.training.processes import Processes
from embedded_vit.training.progress import TrainingProgress
from embedded_vit.training.schedule import learning_rate, make_optimizer, update_average
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.slices import SliceSet
from embedded_vit.training.supervision import make_supervision

__all__ = ["Trainer", "dice_by_case"]

AUTOCAST_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PREVIEW_SLICES = 6


class Trainer:
    """Trains one network on one set of slices.

    Args:
        network: Fresh, or with the weights that training begins with.
        config: The run's configuration.
        record: Data and split; its epochs grow.
        slices: The slices of the training and validation cases.
        folder: The run.
        steps_per_epoch: Optimizer steps in an epoch; by default as many as show every drawn slice once.
        device: "cpu", "cuda", "cuda:1", ...
        processes: This process among all.
        hooks: What a compression step adds to the loop.
    """

    def __init__(
        self,
        network: nn.Module,
        config: RunConfig,
        record: TrainingRecord,
        slices: SliceSet,
        folder: Path,
        *,
        steps_per_epoch: int | None = None,
        device: str = "cpu",
        processes: Processes | None = None,
        hooks: Sequence[TrainingHook] = (),
    ) -> None:
        self.config, self.training, self.record = config, config.training, record
        self.slices, self.folder, self.device = slices, folder, torch.device(device)
        self.processes, self.hooks = processes or Processes(), hooks
        self.network = network.to(self.device)
        self.supervision = make_supervision(self.network, config).to(self.device)
        learning = nn.ModuleList([self.network, self.supervision])
        averages = copy.deepcopy(learning)
        self.average = averages[0]
        self.parameters, self.averaged_parameters = FlatParameters(learning), FlatParameters(averages)
        averages.requires_grad_(False)
        if self.processes.count > 1:
            share_batch_norms(self.network)
        self.optimizer = make_optimizer(self.parameters, self.training)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.training.precision == "fp16")
        self.order = EpochOrder(slices, record.split.train, self.training, steps=steps_per_epoch)
        self.history: list[EpochMetrics] = []
        self.loading_seconds = 0.0  # of this epoch
        self.selected_epoch: int | None = None

    def run(self) -> TrainingRecord:
        """Train the epochs that are left.

        Returns:
            The record as it stands in `training.json`.

        Raises:
            TrainingError: The loss is not finite; epoch and cases are named.
        """
        done, leads = len(self.history), self.processes.leads
        journal = Journal(self.folder, first_epoch=done + 1) if leads else None
        steps = self.order.steps
        for hook in self.hooks:
            hook.begin(self.network, self.average, steps=self.training.epochs * steps, first_step=done * steps)
        with TrainingProgress(self.training.epochs, done=done, silent=not leads) as progress:
            for epoch in range(done + 1, self.training.epochs + 1):
                row = self._train_epoch(epoch, progress)
                self.history.append(row)
                if journal:
                    self._save(epoch)
                    journal.record(self.history, last=epoch == self.training.epochs)
                    self._preview(epoch, journal)
                    progress.epoch_done(row)
        if journal:
            journal.close()
        return self._current_record()

    def resume(self) -> None:
        """Take up the state of the last whole epoch.

        Raises:
            CheckpointError: It is damaged, or another version wrote it.
        """
        tensors, metadata = load_state(self.folder)
        self.network.load_state_dict(_under(tensors, "network."))
        self.average.load_state_dict(_under(tensors, "average."))
        self.supervision.load_state_dict(_under(tensors, "supervision."))
        self._load_optimizer(_under(tensors, "optimizer."))
        self.scaler.load_state_dict(metadata["scaler"])
        self.history = [EpochMetrics.parse(row, source=str(self.folder)) for row in metadata["history"]]
        self.selected_epoch = metadata["selected_epoch"]
        if self.processes.leads:
            self._save_checkpoint()

    def _train_epoch(self, epoch: int, progress: TrainingProgress) -> EpochMetrics:
        started = time.perf_counter()
        steps = self.order.steps
        losses, rate = [], 0.0
        self.loading_seconds = 0.0
        self.network.train()
        batches = self._batches(epoch)
        batch: Batch | None = next(batches)
        while batch is not None:
            rate = self._learning_rate(batch.step)
            loss, gradients_are_there = self._begin_step(batch)
            following = next(batches, None)  # while gradients are on their way between the processes
            gradients_are_there()
            self._end_step(batch.step, rate)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise TrainingError(self._not_finite(epoch, losses[-1], batch.indices))
            progress.batch_done(1 / steps)
            batch = following
        seconds = time.perf_counter() - started
        return EpochMetrics(
            epoch=epoch,
            loss=self.processes.mean(float(np.mean(losses))),
            validation_dice=self._validate() if self.processes.leads else None,
            learning_rate=rate,
            images_per_second=steps * self.training.batch_size / seconds,
            loading_fraction=self.loading_seconds / seconds,
            seconds=time.perf_counter() - started,
        )

    def _learning_rate(self, step: int) -> float:
        rate = learning_rate(step, self.training.epochs * self.order.steps, self.training)
        for hook in self.hooks:
            rate = hook.learning_rate(rate, step)
        return rate

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """This process's part of every batch of an epoch, distorted."""
        order, batch_size = self.order.indices(epoch), self.training.batch_size
        for step in range(self.order.steps):
            positions = np.arange(step * batch_size, (step + 1) * batch_size)
            positions = positions[self.processes.rank :: self.processes.count]
            indices, distortions = order[positions], self._distortions(epoch, positions, order)
            images, labels = augment(self._read, indices, distortions)
            total_step = (epoch - 1) * self.order.steps + step
            yield Batch(images, labels, indices, distortions, total_step, self._autocast)

    def _distortions(self, epoch: int, positions: NDArray[np.int64], order: NDArray[np.int64]) -> list[Distortion]:
        return [
            draw(
                self.training,
                np.random.default_rng((self.training.seed, epoch, int(position))),
                mirror=self.config.labels.mirror,
                others=order,
            )
            for position in positions
        ]

    def _read(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Slices (B,) -> images (B, C, S, S) and labels (B, S, S)."""
        started = time.perf_counter()
        batch = self.slices.tensors(
            indices, context_slices=self.config.preprocessing.context_slices, device=self.device
        )
        self.loading_seconds += time.perf_counter() - started
        return batch

    def _begin_step(self, batch: Batch) -> tuple[Tensor, Callable[[], object]]:
        """The loss, and what to call before its gradients are used."""
        logits, loss = self.supervision(self.network, batch)
        for hook in self.hooks:
            loss = hook.loss(loss, logits, batch, self.network)
        self.parameters.forget_gradients()
        self.scaler.scale(loss).backward()
        self.parameters.gather_gradients()
        return loss.detach(), self.processes.begin_mean(self.parameters.gradient)

    def _end_step(self, step: int, rate: float) -> None:
        """Change the weights and their average."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.unscale_(self.optimizer)
        if self.training.gradient_clip is not None:
            self.parameters.clip_gradients(self.training.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.training.ema_decay is not None:
            update_average(self.averaged_parameters, self.parameters, decay=self.training.ema_decay, step=step)
        for hook in self.hooks:
            hook.after_step(step)

    def _autocast(self) -> torch.autocast:
        dtype = AUTOCAST_TYPES[self.training.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    @property
    def _evaluated(self) -> nn.Module:
        """The network whose weights are validated and kept."""
        return self.network if self.training.ema_decay is None else self.average

    def _predict(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(slices,) -> (slices, S, S) labels on the network's grid."""
        network = self._evaluated.eval()
        predicted = []
        with torch.inference_mode(), self._autocast():
            for first in range(0, len(indices), self.training.batch_size):
                images, _ = self.slices.batch(
                    indices[first : first + self.training.batch_size], self.config.preprocessing.context_slices
                )
                logits = network(torch.from_numpy(images).to(self.device))
                predicted.append(logits.argmax(dim=1).to(torch.uint8).cpu().numpy())
        return np.concatenate(predicted)

    def _validate(self) -> float | None:
        """Mean Dice of the validation cases on the network's grid; None without any."""
        scores = []
        for name in self.record.split.validation:
            indices = self.slices.indices_of([name])
            truth = self.slices.labels[indices]
            scores.extend(dice_by_case(self._predict(indices), truth, self.config.labels.classes))
        return float(np.mean(scores)) if scores else None

    def _preview(self, epoch: int, journal: Journal) -> None:
        """Draw slices with structures, spread evenly over the validation cases (training cases without any)."""
        indices = self.slices.indices_of(self.record.split.validation or self.record.split.train)
        indices = indices[self.slices.labels[indices].any(axis=(1, 2))]
        if not len(indices):
            return
        chosen = indices[np.linspace(0, len(indices) - 1, PREVIEW_SLICES + 2).round().astype(int)[1:-1]]
        images, truth = self.slices.batch(chosen, 1)
        journal.preview(epoch, images[:, 0], truth.astype(np.uint8), self._predict(chosen), self.config.labels)

    def _save(self, epoch: int) -> None:
        """Write the state, then what follows from it: killed in between, `resume` writes the rest."""
        if all(hook.complete(epoch * self.order.steps - 1) for hook in self.hooks):
            dice = self.history[-1].validation_dice
            best = -1.0 if self.selected_epoch is None else self.history[self.selected_epoch - 1].validation_dice or 0.0
            if dice is None or dice > best:
                self.selected_epoch = epoch
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        tensors |= {f"supervision.{name}": tensor for name, tensor in self.supervision.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in values.items() if value is not None
            }
        metadata = {
            "history": [row.model_dump() for row in self.history],
            "selected_epoch": self.selected_epoch,
            "scaler": self.scaler.state_dict(),
        }
        save_state(self.folder, tensors, metadata)
        self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        """Write the weights if the latest epoch is the selected one, and the record in any case."""
        if self.selected_epoch == len(self.history):
            save_checkpoint(self.folder, self._evaluated.state_dict(), self.config, self._current_record())
        else:
            save_record(self.folder, self._current_record())

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
        if state.keys() != {0, 1}:  # matrices and vectors
            raise CheckpointError(
                f"{self.folder}: the optimizer's state is not of this version; train anew, from its weights with --init"
            )
        groups: Any = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _current_record(self) -> TrainingRecord:
        return self.record.model_copy(update={"epochs": tuple(self.history), "selected_epoch": self.selected_epoch})

    def _not_finite(self, epoch: int, loss: float, indices: NDArray[np.int64]) -> str:
        cases = sorted({self.slices.case_names[case] for case in self.slices.case_of[indices]})
        return (
            f"the loss is {loss} in epoch {epoch}, in a batch of the cases {', '.join(cases)}; "
            "check them with `embedded-vit data`, or lower --learning-rate"
        )


def dice_by_case(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> list[float]:
    """Dice of every structure of one case, those in neither mask left out.

    Args:
        predicted, truth: Labels of the same shape.
        classes: K, background included.
    """
    pairs = np.bincount(predicted.ravel().astype(np.int64) * classes + truth.ravel(), minlength=classes**2)
    confusion = pairs.reshape(classes, classes)  # (predicted, truth)
    sizes = confusion.sum(axis=0) + confusion.sum(axis=1)
    return [float(2 * confusion[label, label] / sizes[label]) for label in range(1, classes) if sizes[label]]


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
