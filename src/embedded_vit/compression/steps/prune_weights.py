"""The step `prune_weights`: gradual magnitude pruning. The smallest weights become zero and stay zero.

The file becomes smaller once it is compressed. Nothing becomes faster: every engine multiplies by the zeros too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from embedded_vit.compression.step import Step, StepContext, StepResult
from embedded_vit.engines import Engine, open_network
from embedded_vit.errors import ConfigError, TrainingError
from embedded_vit.training.checkpoint import Checkpoint
from embedded_vit.training.distillation import Distillation, Teacher
from embedded_vit.training.hooks import TrainingHook

__all__ = ["MagnitudePruning", "PruneWeights", "magnitude_masks", "prunable_weights"]


class PruneWeights(Step):
    """Sets the smallest weights of the whole network to zero, step by step, and continues to train the others.

    Three phases: stabilise (no pruning yet), prune (one threshold for the whole network, rising), fine-tune. The
    learning rate is constant in the first and falls from `learning_rate` to `final_learning_rate` in both others.

    Source: Zhu and Gupta, "To prune, or not to prune", 1710.01878, equation 1; Embedded-ViT (ISVC 2024).
    """

    name: ClassVar[str] = "prune_weights"

    sparsity: float = Field(gt=0, lt=1, description="fraction of the prunable weights that is zero at the end")
    initial_sparsity: float = Field(default=0.05, ge=0, lt=1, description="sparsity after the first update")
    stabilise_epochs: float = Field(default=1, ge=0)
    prune_epochs: float = Field(default=10, ge=0)
    finetune_epochs: float = Field(default=6, ge=0)
    update_epochs: float = Field(default=0.5, ge=0, description="between two updates of the masks; 0: every step")
    learning_rate: float = Field(default=1e-3, gt=0)
    final_learning_rate: float = Field(default=5e-5, gt=0)
    decay: Literal["cosine", "linear"] = Field(default="cosine", description="how the learning rate falls")
    weights: tuple[str, ...] = Field(default=("*",), min_length=1, description="names or patterns of parameters")
    teacher_weight: float = Field(
        default=0.5, ge=0, le=1, description="weight of the uncompressed network's answers in the loss"
    )

    @property
    def epochs(self) -> int:
        """All three phases in whole epochs; the last phase is made longer where they do not add up."""
        return max(1, math.ceil(self.stabilise_epochs + self.prune_epochs + self.finetune_epochs))

    def apply(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> StepResult:
        """Prune while training; see `Step.apply`.

        Raises:
            ConfigError: No weight is left to prune.
            TrainingError: A pruned weight has not stayed zero.
        """
        names = [name for name in self.units(before) if name not in protected]
        if not names:
            raise ConfigError("prune_weights: every weight is protected; nothing to prune")
        hooks: list[TrainingHook] = [MagnitudePruning(self, names)]
        if self.teacher_weight:
            hooks.append(Distillation([Teacher(copy.deepcopy(context.original.network))], self.teacher_weight))
        after = context.train(before, folder, epochs=self.epochs, learning_rate=self.learning_rate, hooks=hooks)
        facts = sparsity_facts(after.network, names)
        if facts["zero_weights"] < round(self.sparsity * facts["prunable_weights"]):
            raise TrainingError(
                f"prune_weights: {facts['zero_weights']} of {facts['prunable_weights']} weights are zero, expected "
                f"{self.sparsity:.0%}: something else has changed them; run the step again in a new folder"
            )
        return StepResult(after, facts=facts)

    def units(self, before: Checkpoint) -> tuple[str, ...]:
        """Return the parameters that are pruned.

        Raises:
            ConfigError: A pattern matches no parameter.
        """
        known = list(prunable_weights(before.network))
        for pattern in self.weights:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise ConfigError(f"prune_weights: no linear or convolution weight is called '{pattern:.80}'")
        return tuple(name for name in known if any(fnmatchcase(name, pattern) for pattern in self.weights))

    def damaged(self, before: Checkpoint, unit: str, context: StepContext) -> Engine:
        """Return the network with one parameter pruned to the final sparsity; see `Step.damaged`."""
        network = copy.deepcopy(before.network)
        weights = {unit: network.get_parameter(unit).detach()}
        weights[unit].masked_fill_(~magnitude_masks(weights, self.sparsity)[unit], 0.0)
        return open_network(network, threads=context.threads)


class MagnitudePruning(TrainingHook):
    """Prunes a network and its average while they train.

    A weight that is zero is masked, so a resumed training finds the masks in the network itself.

    Args:
        settings: Phases, sparsities and learning rates.
        names: The parameters to prune.
    """

    def __init__(self, settings: PruneWeights, names: Sequence[str]) -> None:
        self.settings, self.names = settings, names

    def begin(self, network: nn.Module, average: nn.Module, *, steps: int, first_step: int) -> None:
        """Set up phases and masks; see `TrainingHook.begin`."""
        steps_per_epoch = steps // self.settings.epochs
        self.steps = steps
        self.first = round(self.settings.stabilise_epochs * steps_per_epoch)  # steps done at the first update
        self.last = min(steps, self.first + round(self.settings.prune_epochs * steps_per_epoch))
        self.interval = max(1, round(self.settings.update_epochs * steps_per_epoch))
        self.weights = {name: network.get_parameter(name).detach() for name in self.names}
        self.averages = {name: average.get_parameter(name).detach() for name in self.names}
        self.masks = {name: weight != 0 for name, weight in self.weights.items()}
        if first_step == 0:
            self._update(done=0)

    def learning_rate(self, rate: float, step: int) -> float:
        """Return the learning rate of the step's phase, in place of the recipe's."""
        start, stop = (self.first, self.last) if step < self.last else (self.last, self.steps)
        if step < start:
            return self.settings.learning_rate
        fraction = (step - start) / (stop - start)
        left = 1 - fraction if self.settings.decay == "linear" else 0.5 * (1 + math.cos(math.pi * fraction))
        return self.settings.final_learning_rate + left * (
            self.settings.learning_rate - self.settings.final_learning_rate
        )

    def after_step(self, step: int) -> None:
        """Set masked weights back to zero, and mask more where an update is due."""
        self._update(done=step + 1)

    def complete(self, step: int) -> bool:
        """Return whether the final sparsity is reached, and check that masked weights are zero.

        Raises:
            TrainingError: A masked weight is not zero.
        """
        for kept in (self.weights, self.averages):
            for name, mask in self.masks.items():
                if kept[name][~mask].any():
                    raise TrainingError(f"prune_weights: {name} has weights that were pruned and are not zero")
        return step + 1 >= self.last

    def sparsity_after(self, done: int) -> float | None:
        """Return the sparsity that an update after `done` steps sets; None where no update is due.

        Source: 1710.01878, equation 1: s_f + (s_i - s_f) (1 - t)^3.
        """
        due = done == self.last or (self.first <= done < self.last and (done - self.first) % self.interval == 0)
        if not due:
            return None
        remaining = 1 - (done - self.first) / (self.last - self.first) if done < self.last else 0.0
        final = self.settings.sparsity
        return final + (self.settings.initial_sparsity - final) * remaining**3

    def _update(self, done: int) -> None:
        sparsity = self.sparsity_after(done)
        if sparsity is not None:
            self.masks = magnitude_masks(self.weights, sparsity)
        for kept in (self.weights, self.averages):
            for name, mask in self.masks.items():
                kept[name].masked_fill_(~mask, 0.0)


def prunable_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of all linear layers and convolutions by name; nothing else is ever pruned."""
    layers = [name for name, module in network.named_modules() if isinstance(module, (nn.Linear, _ConvNd))]
    names = {f"{layer}.weight" for layer in layers}
    return {name: parameter.detach() for name, parameter in network.named_parameters() if name in names}


def magnitude_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Mark the weights to keep: those above the threshold that leaves a fraction `sparsity` of them out.

    Args:
        weights: Tensors of any shapes by name, on one device.
        sparsity: In [0, 1).

    Returns:
        Booleans of the same shapes.
    """
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights.values()])  # (all weights,)
    pruned = round(sparsity * magnitudes.numel())
    threshold = magnitudes.kthvalue(pruned).values if pruned else magnitudes.new_tensor(-1.0)
    return {name: weight.abs() > threshold for name, weight in weights.items()}


def sparsity_facts(network: nn.Module, names: Sequence[str]) -> dict[str, Any]:
    """Count how many of the named weights are zero, in all and by parameter, as JSON values."""
    weights = {name: network.get_parameter(name).detach() for name in names}
    zeros = {name: int((weight == 0).sum()) for name, weight in weights.items()}
    prunable = sum(weight.numel() for weight in weights.values())
    return {
        "prunable_weights": prunable,
        "zero_weights": sum(zeros.values()),
        "sparsity": sum(zeros.values()) / prunable,
        "sparsity_by_parameter": {name: round(zeros[name] / weights[name].numel(), 4) for name in names},
    }
