"""Optimizer steps as one CUDA graph each: augmentation, teachers, gradients, weights and their average.

Such steps are for networks so small that the GPU would wait for kernel launches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedded_vit.errors import ConfigError
from embedded_vit.training.augmentation import functions_of_place, noise_of
from embedded_vit.training.distillation import Distillation, Teacher, distillation_loss, softened
from embedded_vit.training.distortion import Distortion, Mirroring
from embedded_vit.training.learner import Learner
from embedded_vit.training.processes import Processes
from embedded_vit.training.schedule import kept_share
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.slices import SliceSet
from embedded_vit.training.stepper import DrawnBatch, Stepper
from embedded_vit.training.tensor_augmentation import augmented, numbers_of

__all__ = ["RecordedStepper"]

WARM_UP_STEPS = 3  # before a graph is recorded, as PyTorch advises
NOTHING_OVER_IT = (0.0, 0.0, 0.0, 0.0)


class RecordedStepper(Stepper):
    """A stepper that records one step as a CUDA graph and replays it with new numbers.

    All slices are on the device. Distortions are drawn as for every stepper; noise is drawn on the device.

    Args:
        learner, slices, processes: As `Stepper` takes them.
        distillation: The teachers, or None.
        record: Whether to compile and record; by default on a GPU. Without, the same step runs operation by operation.
        seeded_noise: Whether each slice's noise comes from its own seed, as in an `EagerStepper`. It is slower.
        on_ready: Called when the graph is recorded.

    Raises:
        ConfigError: The training needs something that a recorded step does not support.
    """

    draws_previews: ClassVar[bool] = False  # drawing takes as long as an epoch

    def __init__(
        self,
        learner: Learner,
        slices: SliceSet,
        processes: Processes,
        *,
        distillation: Distillation | None = None,
        record: bool | None = None,
        seeded_noise: bool = False,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(learner, slices, processes)
        _check(self.config, processes, distillation)
        device, batch_size = learner.device, self.training.batch_size
        self.distillation, self.seeded_noise, self.on_ready = distillation, seeded_noise, on_ready
        self.records = device.type == "cuda" if record is None else record
        nothing = np.tile(numbers_of(Distortion(), (0, 0, 0)), (2, batch_size, 1))
        self.numbers = torch.from_numpy(nothing).to(device)  # (2, B, WIDTH): the batch, and what is put over it
        self.rates = torch.zeros(2, dtype=torch.float64, device=device)  # learning rate, and share that averages keep
        self.loss = torch.zeros((), device=device)
        augment = self._compiled(augmented)
        context_slices = self.config.preprocessing.context_slices
        self.images = _ImagesOnDevice(slices, context_slices, learner, batch_size, augment)
        self.answers = self._compiled(partial(learner.supervision.answers, learner.network))
        self.task_loss = self._compiled(learner.supervision.loss)
        self.softened, self.distance = self._compiled(softened), self._compiled(distillation_loss)
        self.teachers: list[tuple[Any, _ImagesOnDevice | None]] = []  # compiled network, and its own slices
        for teacher in distillation.teachers if distillation else ():
            self.teachers.append((self._compiled(_frozen(teacher, device)), self._images_of(teacher, augment)))
        self.take_step: Callable[[], None] = self._step_as_written
        if self.records:
            for group in learner.optimizer.param_groups:
                group["lr"], group["capturable"] = torch.zeros((), device=device), True

    def _compiled(self, function: Any) -> Any:
        return torch.compile(function, dynamic=False) if self.records else function

    def _images_of(self, teacher: Teacher, augment: Any) -> _ImagesOnDevice | None:
        if teacher.slices is None:
            return None
        batch_size = self.training.batch_size
        return _ImagesOnDevice(teacher.slices, teacher.context_slices, self.learner, batch_size, augment)

    def begin(self, *, steps: int, first_step: int) -> None:
        """Record the step; weights and the optimizer's state stay as they are."""
        super().begin(steps=steps, first_step=first_step)
        if self.records:
            self.learner.network.train()
            self.take_step = _recorded(self._step_as_written, self.learner)
        self.on_ready()

    def train(self, drawn: Iterator[DrawnBatch]) -> Iterator[Tensor]:
        """Replay the step for every drawn batch; the GPU copies a batch's numbers while the next one is drawn."""
        for batch in drawn:
            kept = kept_share(self.training.ema_decay or 0.0, batch.step)
            numbers = self._numbers_of(batch)
            rates = torch.tensor([self.learning_rate(batch.step), kept], dtype=torch.float64)
            if self.records:
                numbers, rates = numbers.pin_memory(), rates.pin_memory()
            self.numbers.copy_(numbers, non_blocking=True)
            self.rates.copy_(rates, non_blocking=True)
            if self.seeded_noise:
                for images in [self.images, *(images for _, images in self.teachers if images is not None)]:
                    images.seed_noise(batch.distortions)
            self.take_step()
            yield self.loss.clone()

    def _numbers_of(self, batch: DrawnBatch) -> Tensor:
        """Return the distortions of a batch, and those of the rectangles put over it: (2, B, WIDTH)."""
        own, others = [], []
        for index, distortion in zip(batch.indices, batch.distortions, strict=True):
            patch = distortion.patch
            rectangle = NOTHING_OVER_IT if patch is None else (*patch.rows, *patch.columns)
            own.append(numbers_of(distortion, self._neighbours(index), rectangle))
            others.append(own[-1] if patch is None else numbers_of(patch.distortion, self._neighbours(patch.index)))
        return torch.from_numpy(np.stack([own, others]))

    def _neighbours(self, index: int) -> NDArray[np.int64]:
        return self.slices.neighbours(np.array([index]), 3)[:, 0]

    def _step_as_written(self) -> None:
        """Take one step with the values in `numbers` and `rates`; nothing here waits for the GPU."""
        learner = self.learner
        with torch.no_grad():
            images, labels = self._augmented(self.images)
            taught = self._taught(images) if self.teachers else None
        learner.parameters.forget_gradients()
        with learner.autocast(cache=False):
            answers = self.answers(images)
        loss = self.task_loss(answers, labels)
        if self.distillation is not None:
            loss = self.distillation.mixed(loss, self.distance(answers[0], taught))
        loss.backward()
        learner.parameters.gather_gradients()
        learner.change_weights(*self.rates)
        with torch.no_grad():
            self.loss.copy_(loss)

    def _augmented(self, images: _ImagesOnDevice) -> tuple[Tensor, Tensor]:
        mixed = self.training.cutmix > 0
        return images.augmented(self.numbers[0], self.numbers[1] if mixed else None, seeded=self.seeded_noise)

    def _taught(self, images: Tensor) -> Tensor:
        """Return the teachers' mean answer to the batch, distorted alike on their own grids: (B, K, S, S)."""
        answers = []
        for network, own in self.teachers:
            seen = images if own is None else self._augmented(own)[0]
            with self.learner.autocast(cache=False):
                logits = network(seen)
            answers.append(self.softened(logits, images.shape[-1]))
        return torch.stack(answers).mean(dim=0)


class _ImagesOnDevice:
    """All slices of a run on one network's grid, on the device, and the noise of a batch.

    Args:
        slices: The slices.
        context_slices: 1 or 3, the slices that the network sees at a time.
        learner: Gives the device.
        batch_size: B.
        augment: `augmented`, compiled or not.
    """

    def __init__(
        self, slices: SliceSet, context_slices: int, learner: Learner, batch_size: int, augment: Callable[..., Any]
    ) -> None:
        self.images = torch.tensor(slices.images, device=learner.device)  # (N, channels, S, S) float16
        self.labels = torch.tensor(slices.labels, device=learner.device)  # (N, S, S) uint8
        _, channels, size, _ = self.images.shape
        self.functions = functions_of_place(size, learner.device)
        self.noise = torch.zeros(2, batch_size, channels * context_slices, size, size, device=learner.device)
        self.context_slices, self.augment = context_slices, augment

    def seed_noise(self, distortions: Sequence[Distortion]) -> None:
        """Draw the noise of a batch, and of what is put over it, from the distortions' seeds."""
        patched = [distortion.patch.distortion if distortion.patch else distortion for distortion in distortions]
        for noise, layer in zip(self.noise, (distortions, patched), strict=True):
            for image, distortion in zip(noise, layer, strict=True):
                image.copy_(noise_of(distortion, image.shape, image.device))

    def augmented(self, own: Tensor, others: Tensor | None, *, seeded: bool) -> tuple[Tensor, Tensor]:
        """Return the batch as the function `augmented` does, with the seeded noise or with new noise."""
        noise = self.noise[: 1 if others is None else 2]
        if not seeded:
            noise = torch.randn_like(noise)
        batch: tuple[Tensor, Tensor] = self.augment(
            *(self.images, self.labels, self.functions, own, others, noise), context_slices=self.context_slices
        )
        return batch


def _check(config: RunConfig, processes: Processes, distillation: Distillation | None) -> None:
    """Refuse settings that a recorded step does not support.

    Raises:
        ConfigError: The training has such a setting.
    """
    training = config.training
    refused = {
        "the recipe paper": training.recipe == "paper",
        "the precision fp16": training.precision == "fp16",
        "several processes": processes.count > 1,
        "mirrored labels": (mirror := Mirroring.of(config)) is not None and mirror != Mirroring(),
        "unlabelled slices": distillation is not None and distillation.unlabelled is not None,
    }
    for name, asked in refused.items():
        if asked:
            raise ConfigError(f"recorded optimizer steps do not support {name}; train without recording")


def _frozen(teacher: Teacher, device: torch.device) -> torch.nn.Module:
    return teacher.network.to(device).eval().requires_grad_(False)


def _recorded(step: Callable[[], None], learner: Learner) -> Callable[[], None]:
    """Record a step as a CUDA graph, and put weights, averages and the optimizer's state back as they were."""
    modules, states = (learner.network, learner.average, learner.supervision), learner.optimizer.state
    kept = [{name: value.clone() for name, value in module.state_dict().items()} for module in modules]
    kept_state = {id(value): value.clone() for state in states.values() for value in state.values()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(side)
    learner.parameters.forget_gradients()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    with torch.no_grad():
        for module, values in zip(modules, kept, strict=True):
            for name, value in module.state_dict().items():
                value.copy_(values[name])
        for state in states.values():
            for value in state.values():
                value.copy_(kept_state.get(id(value), torch.zeros_like(value)))
    replay: Callable[[], None] = graph.replay
    return replay
