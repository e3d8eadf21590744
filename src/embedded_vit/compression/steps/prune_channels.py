"""The step `prune_channels`: it removes whole channels, so the network is faster on every engine."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from embedded_vit.compression.step import CutMix, Step, StepContext, StepResult
from embedded_vit.compression.steps.channel_choice import choose_channels, next_width
from embedded_vit.compression.steps.channel_importance import channel_importance
from embedded_vit.costs.latency import paired_latency
from embedded_vit.engines import Engine, open_network
from embedded_vit.errors import CheckpointError, ConfigError
from embedded_vit.export.exporting import export_checkpoint
from embedded_vit.io.atomic import write_text
from embedded_vit.io.json_file import read_json_object
from embedded_vit.models.channels import ChannelGroup, channel_groups, keep_channels
from embedded_vit.models.layered_network import LayeredNetwork
from embedded_vit.training.checkpoint import MODEL, Checkpoint, load_checkpoint
from embedded_vit.training.distillation import Distillation, Teacher

__all__ = ["PruneChannels"]

IMPORTANCE_BATCH = 4  # slices whose effects on the loss may cancel
MEASUREMENTS = 4  # of the importance in a round: once some channels are gone, others matter more
BISECTIONS = 6  # of the MACs, for a target in latency: exact to 1.6 % of the network's MACs
TARGET = "target.json"

Importance = Mapping[str, NDArray[np.float64]]
_known_importance: WeakKeyDictionary[nn.Module, Importance] = WeakKeyDictionary()


class Target(NamedTuple):
    """The target of the pruning: MACs to reach, and the smallest width that each group may get."""

    macs: int
    least: Mapping[str, int]


class PruneChannels(Step):
    """Removes the channels that matter least for what they cost, in rounds of pruning and training.

    The whole network is the teacher of each training. Each round writes a run folder `round-N`, whose `start` is the
    pruned network before training.
    """

    name: ClassVar[str] = "prune_channels"

    target_macs: float | None = Field(default=None, gt=0, lt=1, description="fraction of the MACs that is left")
    target_latency: float | None = Field(
        default=None, gt=0, lt=1, description="fraction of the median latency that is left"
    )
    widths_of: Path | None = Field(
        default=None,
        description="a run folder, pruned from a network like this one, whose widths are the target; so the folds of "
        "a cross-validation become the same network",
    )
    rounds: int = Field(default=3, ge=1)
    epochs: int = Field(ge=1, description="epochs of training, over all rounds together")
    learning_rate: float = Field(default=1e-3, gt=0)
    multiple: int = Field(default=8, ge=1, description="the widths that are left are multiples of this number")
    importance_slices: int = Field(default=64, ge=1)
    teacher_weight: float = Field(
        default=0.5, ge=0, le=1, description="weight of the whole network's answers in the loss"
    )
    cutmix: CutMix = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if [self.target_macs, self.target_latency, self.widths_of].count(None) != 2:
            raise ValueError("prune_channels: give one of target_macs, target_latency and widths_of")
        if self.epochs < self.rounds:
            raise ValueError(
                f"prune_channels: {self.epochs} epochs for {self.rounds} rounds; give at least one epoch a round"
            )
        return self

    def apply(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> StepResult:
        """Remove channels and train; see `Step.apply`.

        Raises:
            ConfigError: The target cannot be reached.
            NetworkError: The network is a user's own.
        """
        whole, target = _macs(before), self._target(before, context, folder, protected)
        teacher = Teacher(copy.deepcopy(before.network))
        hooks = [Distillation([teacher], self.teacher_weight)] if self.teacher_weight else []
        current, macs_by_round = before, []
        for round_index in range(self.rounds):
            round_folder = folder / f"round-{round_index + 1}"
            start_folder = round_folder / "start"
            if not (start_folder / MODEL).is_file():  # written last
                macs = round(whole * (target.macs / whole) ** ((round_index + 1) / self.rounds))
                self._pruned(current, target._replace(macs=macs), context, protected).save(start_folder)
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
            macs_by_round.append(_macs(current))
        facts: dict[str, Any] = {
            "macs_before": whole,
            "macs_by_round": macs_by_round,
            "kept_channels": current.config.network.kept_channels,
        }
        return StepResult(current, facts=facts)

    def at_once(self, before: Checkpoint, context: StepContext, folder: Path) -> Checkpoint:
        """Prune to the target in one go, without training; raises the errors of `apply`."""
        nothing = frozenset[str]()
        return self._pruned(before, self._target(before, context, folder, nothing), context, nothing)

    def units(self, before: Checkpoint) -> tuple[str, ...]:
        """Return the groups that can lose channels; none if another run's widths are the target; see `Step.units`."""
        if self.widths_of is not None:
            return ()
        groups = channel_groups(before.network)
        return tuple(name for name, group in groups.items() if self._next(group) is not None)

    def damaged(self, before: Checkpoint, unit: str, context: StepContext) -> Engine:
        """Return the network with half of one group's channels; see `Step.damaged`."""
        if before.network not in _known_importance:  # one measurement serves all units
            _known_importance[before.network] = channel_importance(before.network, self._batches(context))
        strongest_first = np.argsort(_known_importance[before.network][unit], kind="stable")[::-1]
        width = self._half(channel_groups(before.network)[unit])
        network = copy.deepcopy(before.network)
        keep_channels(network, unit, sorted(strongest_first[:width].tolist()))
        return open_network(network, threads=context.threads)

    def _next(self, group: ChannelGroup) -> int | None:
        return next_width(group.width, unit=group.unit, multiple=self.multiple)

    def _half(self, group: ChannelGroup) -> int:
        """Return about half of a group's width, a width that `apply` could leave."""
        if group.unit > 1:
            return max(1, group.width // 2)
        half = -(-group.width // 2 // self.multiple) * self.multiple
        return half if half < group.width else self.multiple

    def _pruned(
        self, before: Checkpoint, target: Target, context: StepContext, protected: frozenset[str]
    ) -> Checkpoint:
        """Return a copy without the least important channels, not trained."""
        macs, current = _macs(before), before
        for measurement in range(1, MEASUREMENTS + 1):
            kept = choose_channels(
                current.config.network,
                channel_importance(current.network, self._batches(context)),
                round(macs * (target.macs / macs) ** (measurement / MEASUREMENTS)),
                input_channels=before.config.preprocessing.input_channels,
                multiple=self.multiple,
                protected=protected,
                least=target.least,
            )
            current = _with_channels(current, kept)
        return current

    def _target(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> Target:
        """Return the target in MACs; for a target in latency they are found once and written into the folder."""
        if self.widths_of is not None:
            return _widths_of(self.widths_of, before)
        if self.target_macs is not None:
            fraction = self.target_macs
        elif (folder / TARGET).is_file():
            fraction = read_json_object(folder / TARGET, CheckpointError)["target_macs"]
        else:
            fraction = self._bisect(before, context, folder, protected)
            write_text(folder / TARGET, json.dumps({"target_macs": fraction}), overwrite=True)
        return _fraction_of(before, fraction)

    def _bisect(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> float:
        """Find the fraction of the MACs that reaches the target latency: export and time untrained networks."""
        assert self.target_latency is not None
        fast_enough, too_slow, ratio = 0.0, 1.0, 1.0
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            whole = Path(temporary, "whole.onnx")
            export_checkpoint(before, whole, context.data_set)
            for bisection in range(BISECTIONS):
                fraction = (fast_enough + too_slow) / 2
                try:
                    pruned = self._pruned(before, _fraction_of(before, fraction), context, protected)
                except ConfigError:  # no network is that small
                    break
                path = Path(temporary, f"{bisection}.onnx")
                export_checkpoint(pruned, path, context.data_set)
                latency, latency_before = paired_latency([path, whole], engine=context.engine, threads=context.threads)
                ratio = latency.p50_ms / latency_before.p50_ms
                if ratio <= self.target_latency:
                    fast_enough = fraction
                else:
                    too_slow = fraction
        if not fast_enough:
            raise ConfigError(
                f"prune_channels: target_latency {self.target_latency:g} cannot be reached: with {too_slow:.1%} of the "
                f"MACs {ratio:.0%} of the latency is left; raise the target"
            )
        return fast_enough

    def _batches(self, context: StepContext) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield training slices with structures, evenly spread, in small batches."""
        chosen = context.probe_indices(self.importance_slices)
        context_slices = context.original.config.preprocessing.context_slices
        for first in range(0, len(chosen), IMPORTANCE_BATCH):
            images, labels = context.slices.batch(chosen[first : first + IMPORTANCE_BATCH], context_slices)
            yield torch.from_numpy(images), torch.from_numpy(labels)


def _with_channels(before: Checkpoint, kept: Mapping[str, Sequence[int]]) -> Checkpoint:
    network = copy.deepcopy(before.network)
    for name, indices in kept.items():
        keep_channels(network, name, indices)
    widths = before.config.network.kept_channels | {name: len(indices) for name, indices in kept.items()}
    described = before.config.network.model_copy(update={"kept_channels": widths})
    return Checkpoint(network, before.config.model_copy(update={"network": described}), before.record)


def _fraction_of(before: Checkpoint, fraction: float) -> Target:
    """Return a fraction of the network's MACs as the target, with no limit on widths."""
    return Target(int(fraction * _macs(before)), {})


def _widths_of(folder: Path, before: Checkpoint) -> Target:
    """Return the MACs and widths of a run that was pruned from the same network as the target."""
    pruned = load_checkpoint(folder)
    ours, theirs = (
        each.config.network.model_copy(update={"name": "", "kept_channels": {}}) for each in (before, pruned)
    )
    if ours != theirs:
        raise ConfigError(f"prune_channels: widths_of: {folder} was not pruned from a network like this one")
    return Target(_macs(pruned), {name: group.width for name, group in channel_groups(pruned.network).items()})


def _macs(checkpoint: Checkpoint) -> int:
    """Return the multiply-accumulates of one image."""
    channel_groups(checkpoint.network)  # refuses a user's own network
    assert isinstance(checkpoint.network, LayeredNetwork)
    preprocessing = checkpoint.config.preprocessing
    return checkpoint.network.macs(preprocessing.image_size, input_channels=preprocessing.input_channels)
