"""The training of one network of a comparison; its length is set before, and a complete one is not repeated.

A training lasts for a number of passes over the training slices, or for minutes. Minutes become a number of steps, from
the speed of the first ones, before the training begins.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embedded_vit.config import Config, nearest_name
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.errors import ConfigError
from embedded_vit.io.atomic import write_text
from embedded_vit.models.registry import PRESETS
from embedded_vit.training.checkpoint import RECORD, read_record
from embedded_vit.training.eager_stepper import EagerStepper
from embedded_vit.training.epoch_order import EpochOrder
from embedded_vit.training.hooks import TrainingHook
from embedded_vit.training.loop import Trainer
from embedded_vit.training.run import check_same_data, check_same_settings, open_run
from embedded_vit.training.settings import Precision, RunConfig, TrainingConfig
from embedded_vit.training.slices import SliceSet, prepare_slices
from embedded_vit.training.training import plan

__all__ = [
    "CLASSES",
    "Comparison",
    "PeerTraining",
    "RecipeOfPeer",
    "Schedule",
    "planned",
    "schedule_within",
    "train_once",
    "trainings_of",
]

CLASSES = {
    "unet": "benchmarks.peer_networks:UNet",
    "segformer-b0": "benchmarks.peer_networks:SegFormerB0",
    "unext": "benchmarks.networks.unext:UNeXt",
    "unext-s": "benchmarks.networks.unext:UNeXtS",
    "cmunext": "benchmarks.networks.cmunext:CMUNeXt",
    "cmunext-s": "benchmarks.networks.cmunext:CMUNeXtS",
    "emcad-b0": "benchmarks.networks.emcad:EMCAD",
}
THEIRS = {
    "unet": TrainingConfig(learning_rate=1e-3, weight_decay=0, warmup_fraction=0),
    "segformer-b0": TrainingConfig(learning_rate=6e-4, weight_decay=0.01, warmup_fraction=0.01),
    "dae-former-224": TrainingConfig.for_recipe("paper"),
}
SCHEDULE = "schedule.json"
LATENCY_LEFT = "latency"  # what is said after a comma, beside what overrides the architecture
TIMED_STEPS, TIMED_SECONDS = 3, 15.0  # the least that measures how fast a network trains
MANY_STEPS = 10_000

RecipeOfPeer = Literal["modern", "theirs"]


@dataclass(frozen=True)
class PeerTraining:
    """One training of one network.

    Attributes:
        network: A preset, a key of `CLASSES`, widths joined by hyphens, or package.module:Class; then, after commas,
            what overrides its architecture, as in hybrid-s,depth=0, and the fraction of its latency that it is pruned
            to, as in unet-32,latency=0.4.
        image_size: Pixels on a side.
        recipe: Our recipe, or that of the network's authors.
    """

    network: str
    image_size: int
    recipe: RecipeOfPeer

    @property
    def network_at_size(self) -> str:
        """The network as `--networks` takes it; networks of one such name take the same time."""
        return f"{self.network}@{self.image_size}"

    @property
    def name(self) -> str:
        """Of the run folder."""
        return f"{self.network_at_size}-{self.recipe}".replace(":", ".")

    @property
    def is_ours(self) -> bool:
        """Whether a table compares it with the peers, and not as one of them."""
        return self.network not in CLASSES and not self.network.startswith(("unet-", "dae-former"))

    @property
    def architecture(self) -> dict[str, Any]:
        """The network as `network_config` takes it."""
        name, *overrides = self.network.split(",")
        architecture: dict[str, Any] = {"image_size": self.image_size}
        if name in CLASSES or ":" in name:
            architecture["model"] = CLASSES.get(name, name)
        elif name not in PRESETS:
            architecture["widths"] = _numbers(name)
        for override in overrides:
            key, _, value = override.partition("=")
            if key == LATENCY_LEFT:
                continue
            several = key.endswith("widths")
            architecture[key] = _numbers(value) if several else int(value) if value.isdecimal() else value
        return architecture

    @property
    def latency_left(self) -> float | None:
        """The fraction of its latency that the network is pruned to after its training; None if it is not pruned."""
        given = [override for override in self.network.split(",") if override.startswith(f"{LATENCY_LEFT}=")]
        return float(given[-1].partition("=")[2]) if given else None

    @property
    def whole(self) -> PeerTraining:
        """The network before it is pruned."""
        words = [word for word in self.network.split(",") if not word.startswith(f"{LATENCY_LEFT}=")]
        return replace(self, network=",".join(words))

    @property
    def preset(self) -> str | None:
        """The preset that the network begins as, if any."""
        name = self.network.split(",")[0]
        return name if name in PRESETS else None


class Schedule(Config):
    """The length of a training, fixed before it starts and kept as `schedule.json` of its run."""

    minutes: float | None = None
    seconds_a_step: float | None = None
    epochs: int
    steps_per_epoch: int
    steps_of_a_pass: int

    @property
    def passes(self) -> float:
        """How often the training shows every slice."""
        return self.epochs * self.steps_per_epoch / self.steps_of_a_pass


@dataclass(frozen=True)
class Comparison:
    """The settings that all trainings share; `epochs` is used if `minutes` is None.

    With a `label`, which ends the names of their folders, trainings on other splits may lie beside them, and all share
    the slices of all cases.
    """

    data_set: DataSet
    split: Split
    output: Path
    minutes: float | None
    epochs: int
    context_slices: Literal[1, 3]
    precision: Precision
    seed: int
    label: str = ""

    def run_of(self, peer: PeerTraining) -> Path:
        """Return the run folder of a training."""
        return self.output / f"{peer.name}{self.label}"

    def slices_for(self, config: RunConfig) -> SliceSet:
        """Prepare the slices of a network's image size, or open them."""
        preprocessing, subset = config.preprocessing, self.split.names("all") if self.label else self.split.train
        grid = f"{preprocessing.image_size}-{preprocessing.interpolation}{'-all' if self.label else ''}"
        return prepare_slices(self.data_set, sorted(subset), preprocessing, self.output / "slices" / grid)


def trainings_of(text: str, recipes: Sequence[RecipeOfPeer]) -> list[PeerTraining]:
    """Return the trainings of NAME or NAME@S, one for each recipe that the network has.

    Raises:
        ConfigError: The name is unknown, or its size is missing or not a number.
    """
    network, _, size = text.partition("@")
    name, *overrides = network.split(",")
    described = re.fullmatch(r"\d+(-\d+)+", name) or re.fullmatch(r"[\w.]+:\w+", name)
    if name not in PRESETS and name not in CLASSES and not described:
        raise ConfigError(f"unknown network '{name}'{nearest_name(name, [*PRESETS, *CLASSES, '32-80'])}")
    fraction = re.compile(rf"{LATENCY_LEFT}=0?\.\d*[1-9]\d*")
    if not all(re.fullmatch(r"(?!latency)[a-z_]+=[\w-]+", word) or fraction.fullmatch(word) for word in overrides):
        raise ConfigError(
            f"'{text}': expected overrides as in hybrid-s,depth=0,widths=16-32-64@128, or a fraction of the latency as "
            "in unet-32,latency=0.4@64"
        )
    image_size = size or str(PRESETS.get(name, {}).get("image_size", ""))
    if not image_size.isdecimal():
        raise ConfigError(f"'{text}': expected an image size, for example {network}@64")
    own = [recipe for recipe in recipes if recipe == "modern" or network in THEIRS]
    return [PeerTraining(network, int(image_size), recipe) for recipe in own]


def _numbers(text: str) -> tuple[int, ...]:
    """Read numbers joined by hyphens."""
    return tuple(map(int, text.split("-")))


def train_once(peer: PeerTraining, comparison: Comparison) -> tuple[Path, Schedule]:
    """Train a network unless the run is complete already; return its run folder and its schedule.

    Raises:
        ConfigError: Its folder holds a run with other settings or data.
        TrainingError: The loss is not finite.
    """
    run, config = comparison.run_of(peer), planned(peer, comparison)
    slices = comparison.slices_for(config)
    schedule = schedule_once(run, config, slices, comparison)
    config = config.with_training(epochs=schedule.epochs)
    if (run / RECORD).is_file():
        check_same_settings(run, config)
        check_same_data(run, slices, comparison.split)
        if len(read_record(run).epochs) == schedule.epochs:
            return run, schedule
    trainer_for(run, config, slices, comparison, steps_per_epoch=schedule.steps_per_epoch).run()
    return run, schedule


def planned(peer: PeerTraining, comparison: Comparison) -> RunConfig:
    """Return the configuration of a training without its number of epochs."""
    training = TrainingConfig.for_recipe("modern") if peer.recipe == "modern" else THEIRS[peer.network]
    config = plan(
        comparison.data_set,
        network=peer.preset,
        architecture=peer.architecture,
        training=training.model_copy(update={"precision": comparison.precision, "seed": comparison.seed}),
        context_slices=comparison.context_slices,
    )
    return config.model_copy(update={"network": config.network.model_copy(update={"name": peer.network})})


def trainer_for(run: Path, config: RunConfig, slices: SliceSet, comparison: Comparison, **options: Any) -> Trainer:
    """Start or resume a run with the same postprocessing for every network; `options` as `open_run` takes them."""
    return open_run(
        *(run, config, slices, comparison.split), data_folder=comparison.data_set.folder, postprocess=True, **options
    )


def schedule_once(run: Path, config: RunConfig, slices: SliceSet, comparison: Comparison) -> Schedule:
    """Set the length of a training, or read it if it was set before.

    Raises:
        ConfigError: Another length was set before.
    """
    path = run / SCHEDULE
    if path.is_file():
        schedule = Schedule.model_validate_json(path.read_bytes())
        if schedule.minutes != comparison.minutes or (
            comparison.minutes is None and schedule.epochs != comparison.epochs
        ):
            fixed = f"{schedule.epochs} epochs" if schedule.minutes is None else f"{schedule.minutes:g} minutes"
            raise ConfigError(f"{run}: was started with {fixed}; give the same length, or choose another --output")
        return schedule
    steps_of_a_pass = EpochOrder(slices, comparison.split.train, config.training).steps_of_a_pass
    if comparison.minutes is None:
        schedule = Schedule(epochs=comparison.epochs, steps_per_epoch=steps_of_a_pass, steps_of_a_pass=steps_of_a_pass)
    else:
        schedule = schedule_within(comparison.minutes, seconds_a_step(config, slices, comparison), steps_of_a_pass)
    write_text(path, schedule.model_dump_json(indent=1))
    return schedule


def schedule_within(minutes: float, seconds: float, steps_of_a_pass: int) -> Schedule:
    """Return epochs of equal length, as near to a pass over the slices as possible, that fill the time.

    Args:
        minutes: Upper limit of the training time.
        seconds: Time of one step.
        steps_of_a_pass: Steps that show every slice once.
    """
    steps = max(1, int(60 * minutes / seconds))
    epochs = max(1, round(steps / steps_of_a_pass))
    return Schedule(
        minutes=minutes,
        seconds_a_step=seconds,
        epochs=epochs,
        steps_per_epoch=steps // epochs,
        steps_of_a_pass=steps_of_a_pass,
    )


class EnoughTimed(Exception):
    """Raised when a `Stopwatch` has timed enough steps; it ends the training."""


class Stopwatch(TrainingHook):
    """A hook that times steps and ends the training after `TIMED_STEPS` and `TIMED_SECONDS`; the first one warms up."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def after_step(self, step: int) -> None:
        self.moments.append(time.perf_counter())
        if len(self.moments) > TIMED_STEPS and self.moments[-1] - self.moments[0] > TIMED_SECONDS:
            raise EnoughTimed

    @property
    def seconds_a_step(self) -> float:
        return float(np.median(np.diff(self.moments)))  # the median, because other processes disturb single steps


def seconds_a_step(config: RunConfig, slices: SliceSet, comparison: Comparison) -> float:
    """Measure the time of a network's training step in seconds, in a temporary run."""
    stopwatch, config = Stopwatch(), config.with_training(epochs=1)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(EnoughTimed):
        timed = partial(EagerStepper, hooks=[stopwatch])
        trainer_for(Path(folder), config, slices, comparison, steps_per_epoch=MANY_STEPS, make_stepper=timed).run()
    return stopwatch.seconds_a_step
