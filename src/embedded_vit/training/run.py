"""The one way to start a run, or to resume it where it stopped."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.datasets.identity import combined, data_content
from embedded_vit.errors import CheckpointError, ConfigError, OutputError
from embedded_vit.fingerprint import IntensityFingerprint
from embedded_vit.io.atomic import sweep_tree
from embedded_vit.models.registry import build_network
from embedded_vit.postprocessing import find_postprocessing
from embedded_vit.provenance import describe_machine, versions
from embedded_vit.training.checkpoint import (
    CONFIG,
    MODEL,
    STATE,
    TrainingRecord,
    describe_run,
    initialise,
    read_record,
    read_run_config,
)
from embedded_vit.training.eager_stepper import EagerStepper
from embedded_vit.training.learner import Learner
from embedded_vit.training.loop import Trainer
from embedded_vit.training.processes import Processes
from embedded_vit.training.progress import TrainingListener
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.slices import SliceSet
from embedded_vit.training.stepper import MakeStepper

__all__ = [
    "COARSE",
    "check_same_data",
    "check_same_settings",
    "check_whether_to_resume",
    "is_begun",
    "is_finished",
    "open_run",
]

COARSE = "coarse"  # folder within a run folder: the training at half the image size


def open_run(
    folder: Path,
    config: RunConfig,
    slices: SliceSet,
    split: Split,
    *,
    data_folder: Path,
    network: nn.Module | None = None,
    postprocess: bool | None = None,
    steps_per_epoch: int | None = None,
    seconds_limit: float | None = None,
    listener: TrainingListener | None = None,
    device: str = "cpu",
    processes: Processes | None = None,
    make_stepper: MakeStepper = EagerStepper,
) -> Trainer:
    """Start a run in a folder, or resume it after its last whole epoch if the folder holds a state.

    Args:
        folder: The run folder. `config.json` and `training.json` are written at once, weights after each epoch.
        config: The run's configuration. Its seed draws the weights of a fresh network, unless `training.init` or a
            training at half the image size provides them.
        slices: The slices of the training and validation cases.
        split: Training, validation and test cases.
        data_folder: The data set, for the record.
        network: The network to train on; None builds a fresh one.
        postprocess: Whether to find the postprocessing in the training masks; by default for a fresh network with
            the recipe `modern`.
        steps_per_epoch, seconds_limit, listener: As `Trainer` takes them.
        device: "cpu", "cuda", "cuda:1", ...
        processes: This process among all that train together.
        make_stepper: How optimizer steps are computed; `partial(EagerStepper, hooks=...)` adds hooks.

    Raises:
        ConfigError: The run in the folder had other settings or other data.
        CheckpointError: The state or the initial weights are damaged or do not fit.
    """
    processes = processes or Processes()
    if postprocess or (postprocess is None and network is None and config.training.recipe == "modern"):
        config = _with_postprocessing(config, slices, split)
    if config.intensities is None:
        fingerprint = IntensityFingerprint.of(slices.brightness_of(split.train))
        config = config.model_copy(update={"intensities": fingerprint})
    record = _fresh_record(slices, split, data_folder, device)
    if processes.leads:
        sweep_tree(folder)
    begun = (folder / STATE).is_file()
    if begun:
        check_same_settings(folder, config)
        check_same_data(folder, slices, split)
    network = _fresh_network(config, folder) if network is None else network
    stepper = make_stepper(Learner(network, config, device), slices, processes)
    trainer = Trainer(
        *(stepper, record, folder), steps_per_epoch=steps_per_epoch, seconds_limit=seconds_limit, listener=listener
    )
    if begun:
        trainer.resume()
    elif processes.leads:
        describe_run(folder, config, record)
    return trainer


def _fresh_record(slices: SliceSet, split: Split, data_folder: Path, device: str) -> TrainingRecord:
    return TrainingRecord(
        data_folder=str(data_folder.resolve()),
        data_fingerprint=slices.fingerprint,
        files_sha256=combined(slices.contents, sorted(split.train + split.validation)) if slices.contents else "",
        split=split,
        machine=describe_machine(device),
        versions=versions(),
    )


def _with_postprocessing(config: RunConfig, slices: SliceSet, split: Split) -> RunConfig:
    found = find_postprocessing(slices.masks_of(split.train), config.labels)
    return config.model_copy(update={"postprocessing": found})


def _fresh_network(config: RunConfig, folder: Path) -> nn.Module:
    torch.manual_seed(config.training.seed)
    network = build_network(config.network)
    first_weights = folder / COARSE if config.training.coarse_epochs else config.training.init
    if first_weights is not None:
        initialise(network, config, first_weights)
    return network


def begun_config(folder: Path) -> RunConfig | None:
    """Return the configuration of the training that a folder holds, at its image size or at half of it; else None.

    Raises:
        CheckpointError: It cannot be read.
    """
    if (folder / CONFIG).is_file():
        return read_run_config(folder)
    if not (folder / COARSE / CONFIG).is_file():
        return None
    half = read_run_config(folder / COARSE)  # its other sizes are half of those that were asked for
    return half.with_training(coarse_epochs=half.training.epochs)


def is_begun(folder: Path) -> bool:
    """Return whether a folder holds a training that can be resumed, at its image size or at half of it."""
    return any((each / STATE).is_file() for each in (folder, folder / COARSE))


def is_finished(folder: Path, planned: RunConfig, split: Split, data_set: DataSet) -> bool:
    """Return whether a folder holds a run of this configuration, split and data, trained for all its epochs.

    Postprocessing and intensities are not compared, because they are found in the data. Older runs do not say what
    files they saw.
    """
    if not (folder / MODEL).is_file():
        return False
    config, record = read_run_config(folder), read_record(folder)
    found = {"postprocessing": planned.postprocessing, "intensities": planned.intensities}
    same = config.model_copy(update=found) == planned
    if not same or record.split != split or len(record.epochs) != planned.training.epochs:
        return False
    return record.files_sha256 in ("", data_content(data_set, split.train + split.validation))


def check_whether_to_resume(folder: Path, config: RunConfig, *, resume: bool) -> None:
    """Refuse to start a run in a folder that holds one, and to resume in a folder without this run.

    Raises:
        OutputError: The folder holds a run, and `resume` is false.
        CheckpointError: The folder holds no state, and `resume` is true.
        ConfigError: The run in the folder had other settings.
    """
    if not resume:
        if any((folder / name).exists() for name in (MODEL, STATE)):
            raise OutputError(f"{folder}: already holds a run; choose another --output, or add --resume to continue it")
        return
    if not (folder / STATE).is_file():
        raise CheckpointError(f"{folder}: nothing to resume from; train without --resume")
    check_same_settings(folder, config)


def check_same_settings(folder: Path, config: RunConfig) -> None:
    """Refuse to resume a run with other settings; the postprocessing does not count, as it is found in the data.

    Raises:
        ConfigError: A setting differs; it is named with both values.
    """
    before = read_run_config(folder)
    for part in ("network", "preprocessing", "labels", "training"):
        ours, theirs = getattr(config, part), getattr(before, part)
        for name in type(ours).model_fields:
            if getattr(ours, name) != getattr(theirs, name):
                raise ConfigError(
                    f"{folder}: cannot resume with another {part}.{name}: it was {getattr(theirs, name)}, "
                    f"now {getattr(ours, name)}; give the same settings, or choose another --output"
                )


def check_same_data(folder: Path, slices: SliceSet, split: Split) -> None:
    """Refuse to resume a run with other data.

    Raises:
        ConfigError: The split or the slices differ.
    """
    before = read_record(folder)
    if (before.split, before.data_fingerprint) != (split, slices.fingerprint):
        what = "the cases are split in another way" if before.split != split else "the slices differ"
        raise ConfigError(
            f"{folder}: cannot resume: {what}; give the data and options of its start, or choose another --output"
        )
