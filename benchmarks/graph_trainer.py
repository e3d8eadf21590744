"""The training loop with every step of the optimizer as one CUDA graph: augmentation, teacher, and all.

For networks so small that a GPU waits for the launches of their operations. Recipe `modern`, 3 slices.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from graph_augmentation import WIDTH, augmented, numbers_of
from numpy.typing import NDArray
from torch import Tensor, nn

from embedded_vit.compression.steps.distill import distillation_loss, softened
from embedded_vit.errors import ConfigError, TrainingError
from embedded_vit.training.augmentation import Distortion
from embedded_vit.training.checkpoint import EpochMetrics, TrainingRecord
from embedded_vit.training.journal import Journal
from embedded_vit.training.loop import AUTOCAST_TYPES, Trainer
from embedded_vit.training.losses import CROSS_ENTROPY_WEIGHT
from embedded_vit.training.progress import TrainingProgress
from embedded_vit.training.schedule import learning_rate
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.slices import SliceSet

__all__ = ["GraphTrainer", "Lesson", "task_loss"]

CONTEXT_SLICES = 3
WARM_UP_STEPS = 3  # before a graph is recorded, as PyTorch advises


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a teacher says, as the step `distill` has it.

    Attributes:
        network: The teacher's.
        slices: The student's slices on the teacher's grid, in the same order.
        weight: Of the teacher in the loss.
    """

    network: nn.Module
    slices: SliceSet
    weight: float


class GraphTrainer(Trainer):
    """A `Trainer` without hooks, previews and other processes.

    Args:
        network, config, record, slices, folder: As `Trainer` takes them.
        device: "cuda"; on "cpu" nothing is compiled or recorded, which a test can do.
        lesson: A teacher, or None.
        on_ready: Called when the graph is recorded.

    Raises:
        ConfigError: The training asks for deep supervision.
    """

    def __init__(
        self,
        network: nn.Module,
        config: RunConfig,
        record: TrainingRecord,
        slices: SliceSet,
        folder: Path,
        *,
        device: str = "cuda",
        lesson: Lesson | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        if config.training.deep_supervision:
            raise ConfigError("deep supervision: recorded steps see the finest answer only")
        super().__init__(network, config, record, slices, folder, device=device)
        self.on_ready, self.on_gpu = on_ready, device != "cpu"
        batch = self.training.batch_size
        nothing = np.tile(numbers_of(Distortion(), (0, 0, 0)), (2, batch, 1))
        self.numbers = torch.from_numpy(nothing).to(device)  # (2, B, WIDTH): the batch, and what is put over it
        self.rates = torch.zeros(2, device=device)  # of learning, and what the average keeps of itself
        self.loss_sum = torch.zeros((), device=device)
        self.source = self._on_device(slices)
        self.compiled_network = self._compiled(self.network)
        self.compiled_loss = self._compiled(task_loss)
        self.compiled_augmentation = self._compiled(augmented)
        self.lesson = lesson
        if lesson is not None:
            self.compiled_teacher = self._compiled(lesson.network.to(device).eval().requires_grad_(False))
            self.compiled_softening = self._compiled(softened)
            self.compiled_distance = self._compiled(distillation_loss)
            self.teacher_source = self._on_device(lesson.slices)
        if self.on_gpu:
            for group in self.optimizer.param_groups:
                group["lr"], group["capturable"] = torch.zeros((), device=device), True

    def _on_device(self, slices: SliceSet) -> tuple[Tensor, Tensor]:
        """Images (N, S, S) and labels (N, S, S)."""
        return torch.tensor(slices.images[:, 0], device=self.device), torch.tensor(slices.labels, device=self.device)

    def _compiled(self, function: Any) -> Any:
        return torch.compile(function, dynamic=False) if self.on_gpu else function

    def run(self) -> TrainingRecord:
        """As `Trainer.run`."""
        self._whole_step = self._recorded(self._step_as_written) if self.on_gpu else self._step_as_written
        self.on_ready()
        return super().run()

    def _train_epoch(self, epoch: int, progress: TrainingProgress) -> EpochMetrics:
        started = time.perf_counter()
        order, batch = self.order.indices(epoch), self.training.batch_size
        steps = len(order) // batch
        # The GPU copies a row while the next one is drawn.
        rows = torch.empty(steps, 2 * batch * WIDTH + 2, pin_memory=self.on_gpu)
        self.loss_sum.zero_()
        self.network.train()
        for number, row in enumerate(rows):
            step = (epoch - 1) * steps + number
            rate = learning_rate(step, self.training.epochs * steps, self.training)
            kept = min(self.training.ema_decay or 0.0, (1 + step) / (10 + step))
            row[:-2] = torch.from_numpy(self._drawn(epoch, number, order).ravel())
            row[-2:] = torch.tensor([rate, kept])
            self.numbers.copy_(row[:-2].view_as(self.numbers), non_blocking=True)
            self.rates.copy_(row[-2:], non_blocking=True)
            self._whole_step()
            progress.batch_done(1 / steps)
        loss = float(self.loss_sum) / steps
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} in epoch {epoch}; lower the learning rate")
        seconds = time.perf_counter() - started
        return EpochMetrics(
            epoch=epoch,
            loss=loss,
            validation_dice=self._validate(),
            learning_rate=rate,
            images_per_second=steps * batch / seconds,
            loading_fraction=0.0,
            seconds=time.perf_counter() - started,
        )

    def _drawn(self, epoch: int, number: int, order: NDArray[np.int64]) -> NDArray[np.float32]:
        """(2, B, WIDTH): a batch's distortions, drawn as `Trainer` draws them, and those of what is put over it."""
        batch = self.training.batch_size
        positions = np.arange(number * batch, (number + 1) * batch)
        own, others = [], []
        for index, distortion in zip(order[positions], self._distortions(epoch, positions, order), strict=True):
            patch = distortion.patch
            rectangle = (0.0, 0.0, 0.0, 0.0) if patch is None else (*patch.rows, *patch.columns)
            own.append(numbers_of(distortion, self._neighbours(index), rectangle))
            others.append(own[-1] if patch is None else numbers_of(patch.distortion, self._neighbours(patch.index)))
        return np.stack([own, others])

    def _neighbours(self, index: int) -> NDArray[np.int64]:
        return self.slices.neighbours(np.array([index]), CONTEXT_SLICES)[:, 0]

    def _step_as_written(self) -> None:
        """One step of the optimizer out of what lies in `numbers` and `rates`; nothing here waits for the GPU."""
        with torch.no_grad():
            images, labels = self._augmented(self.source)
            opinion = None if self.lesson is None else self._opinion()
        self.parameters.forget_gradients()
        with self._autocast():
            logits = self.compiled_network(images)
        loss = self.compiled_loss(logits, labels)
        if self.lesson is not None:
            distance = self.compiled_distance(logits, opinion)
            loss = (1 - self.lesson.weight) * loss + self.lesson.weight * distance
        loss.backward()
        self.parameters.gather_gradients()
        if self.training.gradient_clip is not None:
            self.parameters.clip_gradients(self.training.gradient_clip)
        for group in self.optimizer.param_groups:
            if self.on_gpu:
                group["lr"].copy_(self.rates[0])
            else:
                group["lr"] = float(self.rates[0])
        self.optimizer.step()
        with torch.no_grad():
            self.averaged_parameters.vector.lerp_(self.parameters.vector, 1 - self.rates[1])
            for kept, current in zip(self.averaged_parameters.buffers, self.parameters.buffers, strict=True):
                kept.copy_(current)
            self.loss_sum.add_(loss.detach())

    def _augmented(self, source: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        size, batch, mixed = source[0].shape[-1], self.training.batch_size, self.training.cutmix > 0
        noise = torch.randn(1 + mixed, batch, CONTEXT_SLICES, size, size, device=self.device)
        augmentation: tuple[Tensor, Tensor] = self.compiled_augmentation(
            *source, self.numbers[0], self.numbers[1] if mixed else None, noise
        )
        return augmentation

    def _opinion(self) -> Tensor:
        """What the teacher says of the batch, distorted alike on its own grid: (B, K, S, S) on the student's."""
        images, _ = self._augmented(self.teacher_source)
        with self._autocast():
            logits = self.compiled_teacher(images)
        opinion: Tensor = self.compiled_softening(logits, self.source[0].shape[-1])
        return opinion

    def _autocast(self) -> torch.autocast:
        """Without its cache of weights, which a graph must not see."""
        dtype = AUTOCAST_TYPES[self.training.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32, cache_enabled=False)

    def _recorded(self, step: Callable[[], None]) -> Callable[[], None]:
        """Record a step as a CUDA graph; weights, averages and the optimizer's state stay as they are."""
        modules = (self.network, self.average)
        kept = [{name: value.clone() for name, value in module.state_dict().items()} for module in modules]
        kept_state = {id(value): value.clone() for state in self.optimizer.state.values() for value in state.values()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_STEPS):
                step()
        torch.cuda.current_stream().wait_stream(side)
        self.parameters.forget_gradients()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        with torch.no_grad():
            for module, values in zip(modules, kept, strict=True):
                for name, value in module.state_dict().items():
                    value.copy_(values[name])
            for state in self.optimizer.state.values():
                for value in state.values():
                    value.copy_(kept_state.get(id(value), torch.zeros_like(value)))
        replay: Callable[[], None] = graph.replay
        return replay

    def _preview(self, epoch: int, journal: Journal) -> None:
        """None: it would take as long as the epoch."""


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """`segmentation_loss`, in operations that a graph can hold: (B, K, S, S), (B, S, S) -> a scalar."""
    logarithms = logits.float().log_softmax(dim=1)
    classes = torch.arange(logits.shape[1], device=labels.device)
    true = (labels[:, None] == classes[:, None, None]).float()  # (B, K, S, S)
    cross_entropy = -(logarithms * true).sum(dim=1).mean()
    probabilities = logarithms.exp()
    overlap, count = (probabilities * true).sum(dim=(0, 2, 3)), true.sum(dim=(0, 2, 3))
    squares = probabilities.square().sum(dim=(0, 2, 3))
    dice = 1 - ((2 * overlap + 1e-5) / (count + squares + 1e-5)).mean()
    return CROSS_ENTROPY_WEIGHT * cross_entropy + (1 - CROSS_ENTROPY_WEIGHT) * dice
