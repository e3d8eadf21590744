"""The step `prune_channels`: it removes whole channels, so the network is faster on every engine."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from embedded_vit.compression.step import CutMix, Step, StepContext, StepResult
from embedded_vit.compression.steps.channel_choice import Prunable, choose_channels, next_width, shrinkable
from embedded_vit.compression.steps.channel_importance import channel_importance
from embedded_vit.compression.steps.pruning_target import (
    MACS_MULTIPLE,
    LatencySearch,
    Target,
    cost_in_macs,
    prunable,
)
from embedded_vit.costs.latency_table import channel_block
from embedded_vit.engines import Engine, open_network
from embedded_vit.errors import ConfigError
from embedded_vit.models.channels import ChannelGroup, channel_groups, keep_channels
from embedded_vit.training.checkpoint import MODEL, Checkpoint, load_checkpoint
from embedded_vit.training.distillation import Distillation, Teacher
from embedded_vit.training.partial_labels import possible_classes

__all__ = ["PruneChannels"]

IMPORTANCE_BATCH = 4  # slices whose effects on the loss may cancel
MEASUREMENTS = 4  # of the importance in a round: once some channels are gone, others matter more
TARGETS = ("target_macs", "target_latency", "target_latency_ms", "widths_of")

Importance = Mapping[str, NDArray[np.float64]]
_known_importance: WeakKeyDictionary[nn.Module, dict[int, Importance]] = WeakKeyDictionary()  # by number of slices


class PruneChannels(Step):
    """Removes the channels that matter least for what they cost, in rounds of pruning and training.

    The whole network is the teacher of each training. Each round writes a run folder `round-N`, whose `start` is the
    pruned network before training.
    """

    name: ClassVar[str] = "prune_channels"

    target_macs: float | None = Field(default=None, gt=0, lt=1, description="fraction of the MACs that is left")
    target_latency: float | None = Field(
        default=None, gt=0, lt=1, description="fraction of the latency that is left, in the engine of the compression"
    )
    target_latency_ms: float | None = Field(
        default=None, gt=0, description="the latency that is left, in ms, on this machine in the same engine"
    )
    nearest: bool = Field(
        default=False,
        description="where no network is as fast as asked for, take the fastest that was found and say so",
    )
    widths_of: Path | None = Field(
        default=None,
        description="a run folder, pruned from a network like this one, whose widths are the target; so the folds of "
        "a cross-validation become the same network",
    )
    rounds: int = Field(default=3, ge=1)
    epochs: int = Field(ge=1, description="epochs of training, over all rounds together")
    learning_rate: float = Field(default=1e-3, gt=0)
    multiple: int | None = Field(
        default=None,
        ge=1,
        description="the widths that are left are multiples of this number; by default 8, and for a latency the block "
        "of channels that engines compute at a time on this processor, 8 or 16",
    )
    importance_slices: int = Field(default=64, ge=1)
    teacher_weight: float = Field(
        default=0.5, ge=0, le=1, description="weight of the whole network's answers in the loss"
    )
    cutmix: CutMix = None

    @model_validator(mode="before")
    @classmethod
    def _multiple_of_macs(cls, values: Any) -> Any:
        """Write the default out where it does not depend on the machine, as plans have always been recorded."""
        by_macs = isinstance(values, dict) and not {*TARGETS[1:3]} & {
            name for name in values if values[name] is not None
        }
        return {**values, "multiple": MACS_MULTIPLE} if by_macs and values.get("multiple") is None else values

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if [getattr(self, name) for name in TARGETS].count(None) != len(TARGETS) - 1:
            raise ValueError(f"prune_channels: give one of {', '.join(TARGETS[:-1])} and {TARGETS[-1]}")
        if self.epochs < self.rounds:
            raise ValueError(
                f"prune_channels: {self.epochs} epochs for {self.rounds} rounds; give at least one epoch per round"
            )
        return self

    def apply(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> StepResult:
        """Remove channels and train; see `Step.apply`.

        Raises:
            ConfigError: The target cannot be reached.
            NetworkError: The network is a user's own, and PyTorch cannot trace it.
        """
        target = self._target(before, context, folder, protected)
        if target.pointless:
            return StepResult(before, facts={"note": target.note})
        whole = target.cost.of(prunable(before))
        teacher = Teacher(copy.deepcopy(before.network))
        hooks = [Distillation([teacher], self.teacher_weight)] if self.teacher_weight else []
        macs = cost_in_macs(before).of
        current, macs_by_round, cost_by_round = before, list[float](), list[float]()
        for round_index in range(self.rounds):
            round_folder = folder / f"round-{round_index + 1}"
            start_folder = round_folder / "start"
            if not (start_folder / MODEL).is_file():  # written last
                amount = whole * (target.amount / whole) ** ((round_index + 1) / self.rounds)
                self._pruned(current, replace(target, amount=amount), context, protected).save(start_folder)
            epochs = self.epochs // self.rounds
            if round_index == self.rounds - 1:
                epochs += self.epochs % self.rounds
            start = load_checkpoint(start_folder)
            current = context.train(
                start,
                round_folder,
                epochs=epochs,
                learning_rate=self.learning_rate,
                hooks=hooks,
                config=start.config.with_training(cutmix=self.cutmix),
            )
            macs_by_round.append(macs(prunable(current)))
            cost_by_round.append(target.cost.of(prunable(current)))
        facts: dict[str, Any] = {
            "macs_before": macs(prunable(before)),
            "macs_by_round": macs_by_round,
            "kept_channels": current.config.network.kept_channels,
        }
        if target.note:
            facts["note"] = target.note
        if target.cost.unit == "ms":
            facts |= {"table_ms_before": whole, "table_ms_by_round": cost_by_round}
        return StepResult(current, facts=facts)

    def at_once(self, before: Checkpoint, context: StepContext, folder: Path) -> Checkpoint:
        """Prune to the target in one go, without training; raises the errors of `apply`."""
        nothing = frozenset[str]()
        target = self._target(before, context, folder, nothing)
        return before if target.pointless else self._pruned(before, target, context, nothing)

    def units(self, before: Checkpoint) -> tuple[str, ...]:
        """Return the groups that can lose channels; none if another run's widths are the target; see `Step.units`."""
        if self.widths_of is not None:
            return ()
        groups = channel_groups(prunable(before))
        return tuple(name for name, group in groups.items() if self._next(group) is not None)

    def damaged(self, before: Checkpoint, unit: str, context: StepContext) -> Engine:
        """Return the network with half of one group's channels; see `Step.damaged`."""
        network = prunable(before)
        strongest_first = np.argsort(self._importance(network, context)[unit], kind="stable")[::-1]
        width = self._half(channel_groups(network)[unit])
        smaller = copy.deepcopy(network)
        keep_channels(smaller, {unit: sorted(strongest_first[:width].tolist())})
        return open_network(smaller, threads=context.threads)

    @property
    def _aims_at_latency(self) -> bool:
        return self.target_latency is not None or self.target_latency_ms is not None

    @property
    def _width_multiple(self) -> int:
        return self.multiple or (channel_block() if self._aims_at_latency else MACS_MULTIPLE)

    def _next(self, group: ChannelGroup) -> int | None:
        smaller = next_width(
            group.width, unit=group.unit, multiple=self._width_multiple, whole_blocks=self._aims_at_latency
        )
        return smaller if (smaller or 0) >= group.least else None

    def _half(self, group: ChannelGroup) -> int:
        """Return about half of a group's width, a width that `apply` could leave."""
        if group.unit > 1:
            return max(group.least, group.width // 2)
        half = -(-group.width // 2 // self._width_multiple) * self._width_multiple
        return half if half < group.width else self._width_multiple

    def _pruned(
        self, before: Checkpoint, target: Target, context: StepContext, protected: frozenset[str]
    ) -> Checkpoint:
        """Return a copy without the least important channels, not trained."""
        cost, current = target.cost.of(prunable(before)), before
        for measurement in range(1, MEASUREMENTS + 1):
            network = prunable(current)
            kept = choose_channels(
                shrinkable(network, current.config.network, target.cost),
                self._importance(network, context),
                cost * (target.amount / cost) ** (measurement / MEASUREMENTS),
                target.cost,
                protected=protected,
                least=target.least,
            )
            current = _with_channels(current, kept)
        return current

    def _target(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> Target:
        """Return the target; one in latency is found once and written into the folder."""
        if self.widths_of is not None:
            return _widths_of(self.widths_of, before, self.multiple)
        if self.target_macs is not None:
            cost = cost_in_macs(before, self.multiple)
            return Target(int(self.target_macs * cost.of(prunable(before))), cost)
        return LatencySearch(
            before,
            context,
            folder,
            fraction=self.target_latency,
            limit_ms=self.target_latency_ms,
            multiple=self.multiple,
            protected=protected,
            nearest=self.nearest,
            pruned=lambda target: self._pruned(before, target, context, protected),
        ).target()

    def _importance(self, network: Prunable, context: StepContext) -> Importance:
        """Return the importance of a network's channels; measured once for all units and tries."""
        known = _known_importance.setdefault(network, {})
        if self.importance_slices not in known:
            known[self.importance_slices] = channel_importance(network, self._batches(context), _possible(context))
        return known[self.importance_slices]

    def _batches(self, context: StepContext) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield training slices with structures, evenly spread, in small batches."""
        chosen = context.probe_indices(self.importance_slices)
        context_slices = context.original.config.preprocessing.context_slices
        for first in range(0, len(chosen), IMPORTANCE_BATCH):
            images, labels = context.slices.batch(chosen[first : first + IMPORTANCE_BATCH], context_slices)
            yield torch.from_numpy(images), torch.from_numpy(labels)


def _possible(context: StepContext) -> Tensor | None:
    """Return what the labels of the prepared slices may stand for."""
    config = context.original.config
    return possible_classes(config.partial_labels, config.labels.classes)


def _with_channels(before: Checkpoint, kept: Mapping[str, Sequence[int]]) -> Checkpoint:
    network = copy.deepcopy(prunable(before))
    keep_channels(network, kept)
    widths = before.config.network.kept_channels | {name: len(indices) for name, indices in kept.items()}
    described = before.config.network.model_copy(update={"kept_channels": widths})
    return Checkpoint(network, before.config.model_copy(update={"network": described}), before.record)


def _widths_of(folder: Path, before: Checkpoint, multiple: int | None) -> Target:
    """Return the MACs and widths of a run that was pruned from the same network as the target."""
    pruned = load_checkpoint(folder)
    ours, theirs = (
        each.config.network.model_copy(update={"name": "", "kept_channels": {}}) for each in (before, pruned)
    )
    if ours != theirs:
        raise ConfigError(f"prune_channels: widths_of: {folder} was not pruned from a network like this one")
    cost = cost_in_macs(before, multiple)
    least = {name: group.width for name, group in channel_groups(prunable(pruned)).items()}
    return Target(cost.of(prunable(pruned)), cost, least)
