"""Train U-Net, SegFormer and DAE-Former beside our networks, export them and measure them alike.

    python benchmarks/peers.py --data DATA --output FOLDER [--minutes 8 | --epochs E] [--networks NAME[@S] ...]

NAME is a preset (embedded-vit-64, dae-former-224, ...), unet, segformer-b0, or widths such as 32-80. S is the image
size; presets have their own. Every network is trained with our recipe, `modern`; those of others with `theirs` too.
docs/peers.md explains both, and how minutes are counted. A complete training is not repeated, and one that was killed
is resumed; latency is measured each time, all files in turns. FOLDER gets a run folder for every training, and
peers.html, peers.md and peers.json. Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peer_results import Result, measure_latency, measure_once, write_results

from embedded_vit.config import Config, nearest_name
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, Split, make_split
from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.io.atomic import write_text
from embedded_vit.models.registry import PRESETS, build_network
from embedded_vit.training.checkpoint import RECORD, read_record
from embedded_vit.training.eager_stepper import EagerStepper
from embedded_vit.training.epoch_order import EpochOrder
from embedded_vit.training.hooks import TrainingHook
from embedded_vit.training.loop import Trainer
from embedded_vit.training.processes import keep_freed_memory
from embedded_vit.training.run import check_same_data, check_same_settings, open_run
from embedded_vit.training.settings import Precision, RunConfig, TrainingConfig
from embedded_vit.training.slices import SliceSet, prepare_slices
from embedded_vit.training.training import plan

OURS = ("embedded-vit-64", "embedded-vit-128", "embedded-vit-s", "embedded-vit-m")
OTHERS = ("unet@64", "unet@128", "segformer-b0@64", "segformer-b0@128", "dae-former-224@64", "dae-former-224@128")
CLASSES = {"unet": "benchmarks.peer_networks:UNet", "segformer-b0": "benchmarks.peer_networks:SegFormerB0"}
THEIRS = {
    "unet": TrainingConfig(learning_rate=1e-3, weight_decay=0, warmup_fraction=0),
    "segformer-b0": TrainingConfig(learning_rate=6e-4, weight_decay=0.01, warmup_fraction=0.01),
    "dae-former-224": TrainingConfig.for_recipe("paper"),
}
SCHEDULE = "schedule.json"
TIMED_STEPS, TIMED_SECONDS = 3, 15.0  # the least that measures how fast a network trains
MANY_STEPS = 10_000


RecipeOfPeer = Literal["modern", "theirs"]


@dataclass(frozen=True)
class PeerTraining:
    """One training of one network.

    Attributes:
        network: A preset, a key of `CLASSES`, or widths joined by hyphens.
        image_size: Pixels on a side.
        recipe: Our recipe, or that of the network's authors.
    """

    network: str
    image_size: int
    recipe: RecipeOfPeer

    @property
    def name(self) -> str:
        return f"{self.network}@{self.image_size}-{self.recipe}"


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
    """The settings that all trainings share; `epochs` is used if `minutes` is None."""

    data_set: DataSet
    split: Split
    output: Path
    minutes: float | None
    epochs: int
    context_slices: Literal[1, 3]
    precision: Precision
    seed: int


def main(words: Sequence[str] | None = None) -> None:
    sys.path.append(str(Path(__file__).resolve().parents[1]))  # where `benchmarks.peer_networks` lies
    arguments = parse(words)
    peer_trainings = [one for text in arguments.networks for one in trainings_of(text, arguments.recipes)]
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    data_set = open_data_set(arguments.data)
    comparison = Comparison(
        data_set=data_set,
        split=make_split(data_set, seed=arguments.seed, validation_cases=0),
        output=arguments.output,
        minutes=None if arguments.epochs else arguments.minutes,
        epochs=arguments.epochs,
        context_slices=arguments.context_slices,
        precision=arguments.precision,
        seed=arguments.seed,
    )
    for peer in peer_trainings:
        build_network(planned(peer, comparison).network)  # refuses what cannot be built before any training
    results, failures = [], []
    for peer in peer_trainings:
        print(f"{peer.name}: training and measuring, or reading", file=sys.stderr, flush=True)
        try:
            run, schedule = train_once(peer, comparison)
            measured = measure_once(run, arguments.data, threads=arguments.threads or torch.get_num_threads())
            results.append(Result(run, schedule.passes, measured))
        except EmbeddedVitError as error:  # the others go on; the page names the failure
            failures.append(f"{peer.name} failed: {error}")
            print(failures[-1], file=sys.stderr, flush=True)
    if not results:
        raise ConfigError("every network failed; see above")
    results, notes = measure_latency(results, repeats=arguments.repeats)
    write_results(results, [*failures, *notes], comparison.output, data_set, comparison.split)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=8.0, help="minutes of training for each network and recipe")
    length.add_argument("--epochs", type=int, default=0, help="instead of minutes: passes over the training slices")
    parser.add_argument("--networks", nargs="+", default=[*OURS, *OTHERS], metavar="NAME[@S]")
    parser.add_argument("--recipes", nargs="+", choices=["modern", "theirs"], default=["modern", "theirs"])
    parser.add_argument("--context-slices", type=int, choices=[1, 3], default=3)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="precision of all trainings")
    parser.add_argument("--threads", type=int, help="threads for training and scoring; by default PyTorch's choice")
    parser.add_argument("--repeats", type=int, default=50, help="rounds of each latency")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    if arguments.minutes <= 0 or arguments.epochs < 0:
        raise ConfigError(f"--minutes {arguments.minutes:g} --epochs {arguments.epochs}: expected numbers above 0")
    return arguments


def trainings_of(text: str, recipes: Sequence[RecipeOfPeer]) -> list[PeerTraining]:
    """Return the trainings of NAME or NAME@S, one for each recipe that the network has.

    Raises:
        ConfigError: The name is unknown, or its size is missing or not a number.
    """
    network, _, size = text.partition("@")
    if network not in PRESETS and network not in CLASSES and not re.fullmatch(r"\d+(-\d+)+", network):
        raise ConfigError(f"unknown network '{network}'{nearest_name(network, [*PRESETS, *CLASSES, '32-80'])}")
    image_size = size or str(PRESETS.get(network, {}).get("image_size", ""))
    if not image_size.isdecimal():
        raise ConfigError(f"'{text}': expected an image size, for example {network}@64")
    own = [recipe for recipe in recipes if recipe == "modern" or network in THEIRS]
    return [PeerTraining(network, int(image_size), recipe) for recipe in own]


def train_once(peer: PeerTraining, comparison: Comparison) -> tuple[Path, Schedule]:
    """Train a network unless the run is complete already; return its run folder and its schedule.

    Raises:
        ConfigError: Its folder holds a run with other settings or data.
        TrainingError: The loss is not finite.
    """
    run = comparison.output / peer.name
    config = planned(peer, comparison)
    grid = f"{config.preprocessing.image_size}-{config.preprocessing.interpolation}"
    slices = prepare_slices(
        comparison.data_set, sorted(comparison.split.train), config.preprocessing, comparison.output / "slices" / grid
    )
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
    network = peer.network
    architecture: dict[str, Any] = {"image_size": peer.image_size}
    if network in CLASSES:
        architecture["model"] = CLASSES[network]
    elif network not in PRESETS:
        architecture["widths"] = tuple(map(int, network.split("-")))
    training = TrainingConfig.for_recipe("modern") if peer.recipe == "modern" else THEIRS[network]
    config = plan(
        comparison.data_set,
        network=network if network in PRESETS else None,
        architecture=architecture,
        training=training.model_copy(update={"precision": comparison.precision, "seed": comparison.seed}),
        context_slices=comparison.context_slices,
    )
    return config.model_copy(update={"network": config.network.model_copy(update={"name": network})})


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


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"peers.py: {error}")
