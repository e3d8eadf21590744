"""Training a network on a data set: from a folder and settings to a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from embedded_vit.counted import counted
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, Split, make_split
from embedded_vit.errors import ConfigError, InputError
from embedded_vit.io.atomic import check_folder
from embedded_vit.models.registry import NetworkConfig, network_config
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import STATE, TrainingRecord, read_run_config
from embedded_vit.training.partial_labels import partial_sets
from embedded_vit.training.processes import (
    Processes,
    check_device,
    joined_processes,
    keep_freed_memory,
    may_restart,
)
from embedded_vit.training.progress import TrainingListener, TrainingProgress
from embedded_vit.training.run import COARSE, begun_config, check_whether_to_resume, is_begun, is_finished, open_run
from embedded_vit.training.settings import RunConfig, TrainingConfig
from embedded_vit.training.slices import SliceSet, prepare_slices, remove_slices

__all__ = ["at_half_the_size", "default_context", "plan", "train", "train_once", "train_planned"]

FROM_COARSE = 128  # pixels: the smallest image that is trained from coarse to fine by default
COARSE_COST = 0.3  # of an epoch at half the image size over one at the full size; with validation a little over 1/4


def plan(
    data_set: DataSet,
    *,
    network: str | None,
    architecture: Mapping[str, Any],
    training: TrainingConfig,
    context_slices: int | None = 1,
) -> RunConfig:
    """Return the configuration of a run.

    Args:
        data_set: The data set; only its modality, channels and labels matter.
        network: A preset's name, or None.
        architecture: As `network_config` takes them.
        training: The training settings. If it starts from a run folder, the channels are those of that run.
        context_slices: 1 or 3; None takes what measured best, see `default_context`. One grey channel without context
            is copied to the stem's three channels.

    Raises:
        ConfigError, NetworkError: The settings do not fit together.
        CheckpointError: The run folder that the training starts from cannot be read.
    """
    own_class = architecture.get("model") is not None
    if context_slices is None:
        context_slices = default_context(data_set, training, own_class=own_class)
    channels = len(data_set.channels) * context_slices
    if training.init is not None and Path(training.init).is_dir():
        architecture = {**architecture, "kept_channels": read_run_config(Path(training.init)).network.kept_channels}
    described = network_config(
        network,
        classes=data_set.labels.classes,
        in_channels=channels if channels > 1 or own_class else 3,
        **architecture,
    )
    preprocessing = Preprocessing.for_modality(
        data_set.modality,
        channels=data_set.channels,
        image_size=described.image_size,
        output_stride=described.output_stride,
        context_slices=context_slices,
        interpolation="cubic" if training.recipe == "paper" else "antialias",
    )
    return RunConfig(
        network=described,
        preprocessing=preprocessing,
        labels=data_set.labels,
        partial_labels=partial_sets(data_set),
        training=training,
    )


def train(
    data_folder: str | Path,
    output: str | Path,
    *,
    network: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    training: TrainingConfig,
    context_slices: int | None = 1,
    choose_coarse: bool = False,
    structures: Sequence[str] | None = None,
    patient: str | None = None,
    validation_cases: int | None = None,
    split: Split | None = None,
    slices_folder: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
) -> TrainingRecord | None:
    """Train a network on a data set and write a run folder.

    Args:
        data_folder: A data set in any known layout.
        output: The run folder; new, unless resuming.
        network, architecture, context_slices: As `plan` takes them.
        training: The training settings.
        choose_coarse: Whether to take as many epochs at half the image size as measured best, see `default_coarse`,
            in place of those of `training`. A run that is resumed keeps its own, and its own `context_slices`.
        structures, patient: The structures to learn, and how patients are recognised, as `open_data_set` takes them.
        validation_cases: As `make_split` takes them.
        split: Training, validation and test cases; by default as `make_split` chooses them.
        slices_folder: A folder for the prepared slices, which several trainings on the same cases can share; by
            default they lie in the run folder until the training ends.
        resume: Whether to resume the run in `output`, with the same settings; it is anyhow where `may_restart`.
        device: "cpu", "cuda", "cuda:1", ...
        threads: CPU threads; by default PyTorch's choice.

    Returns:
        The record of the run; None in every process except the first.

    Raises:
        InputError: Data, settings or the run folder are not usable.
        TrainingError: The loss is not finite.
    """
    check_device(device)
    check_folder(Path(output))
    data_set = open_data_set(data_folder, structures=structures, patient=patient)
    resume = resume or (may_restart() and is_begun(Path(output)))
    begun = begun_config(Path(output)) if resume else None
    asked = {"network": network, "architecture": architecture or {}, "training": training}
    config = _chosen(data_set, begun, choose_coarse=choose_coarse, context_slices=context_slices, **asked)
    return train_planned(
        data_set,
        config,
        Path(output),
        split=split or make_split(data_set, seed=training.seed, validation_cases=validation_cases),
        slices_folder=slices_folder,
        resume=resume,
        device=device,
        threads=threads,
    )


def _chosen(
    data_set: DataSet, begun: RunConfig | None, *, choose_coarse: bool, context_slices: int | None, **asked: Any
) -> RunConfig:
    """Return the configuration of a run; where something is not said, that of the one that was begun, if there is."""
    if begun is not None and context_slices is None:
        context_slices = begun.preprocessing.context_slices
    config = plan(data_set, context_slices=context_slices, **asked)
    if not choose_coarse:
        return config
    return config.with_training(coarse_epochs=default_coarse(config) if begun is None else begun.training.coarse_epochs)


def default_context(data_set: DataSet, training: TrainingConfig, *, own_class: bool) -> int:
    """Return how many slices a network sees at a time unless it is told: 3, which gain 2 points of Dice.

    One where there are no neighbours (pictures), where they gained nothing (recipe `paper`), and where the network is
    a user's own or starts from weights, which were made for a number of channels.
    """
    alone = data_set.modality == "picture" or training.recipe == "paper" or own_class or training.init is not None
    return 1 if alone else 3


def default_coarse(config: RunConfig) -> int:
    """Return how many epochs at half the image size a training begins with unless it is told: as many as at the full.

    They take a quarter of the time and gain 1.1 points of Dice. None for images below 128 pixels, which was not
    measured; for recipe `paper`, whose results are published; for a user's own network; and where the training starts
    from weights, or the network does not take images of half the size.
    """
    training, network = config.training, config.network
    if training.recipe == "paper" or training.init is not None or network.model is not None:
        return 0
    if network.image_size < FROM_COARSE:
        return 0
    try:
        at_half_the_size(config.with_training(coarse_epochs=training.epochs))
    except InputError:
        return 0
    return training.epochs


def train_planned(
    data_set: DataSet,
    config: RunConfig,
    output: Path,
    *,
    split: Split,
    slices_folder: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    threads: int | None = None,
    seconds_limit: float | None = None,
    listener: TrainingListener | None = None,
) -> TrainingRecord | None:
    """Train as a configuration says, at half the image size first if it says so, and write a run folder.

    Args:
        data_set: The data set.
        config: The configuration of the run.
        output: The run folder; new, unless resuming.
        split: Training, validation and test cases.
        slices_folder, resume, device, threads: As `train` takes them.
        seconds_limit: Time for the epochs at both image sizes together, each of which gets its share; see `Trainer`.
        listener: Hears of everything, in the first process; by default a display on stderr.

    Returns:
        As `train`; raises likewise.
    """
    check_device(device)
    check_folder(output)
    training = config.training
    _prepare_processor(device, training, threads)
    with joined_processes(device) as processes:
        if device == "cuda" and processes.count > 1:
            device = f"cuda:{processes.local_rank}"
        if training.batch_size % processes.count:
            raise ConfigError(
                f"--batch-size {training.batch_size} is not a multiple of "
                f"{counted(processes.count, 'process', 'processes')}"
            )
        stages = _stages(config, output)
        for folder, stage in stages.items():
            # A main run without a state was stopped at half the size, so it starts whatever `resume` says.
            resumed = resume and (len(stages) == 1 or folder != output or (folder / STATE).is_file())
            check_whether_to_resume(folder, stage, resume=resumed)
        listener = (listener or TrainingProgress()) if processes.leads else TrainingListener()
        setup = _Setup(data_set, split, device, processes, slices_folder, listener)
        limit = seconds_limit
        for folder, stage in stages.items():
            if len(stages) > 1:
                listener.image_size(stage.network.image_size)
            if seconds_limit is not None and folder != output:
                limit = seconds_limit * _coarse_share(training)
            record = setup.train(stage, folder, limit)
            if seconds_limit is not None:
                limit = max(0.0, seconds_limit - sum(row.seconds for row in record.epochs))
    return record if processes.leads else None


def _coarse_share(training: TrainingConfig) -> float:
    """Return the share of the time that the epochs at half the image size take."""
    coarse = COARSE_COST * training.coarse_epochs
    return coarse / (coarse + training.epochs)


def at_half_the_size(config: RunConfig) -> RunConfig:
    """Return the configuration of the training at half the image size that `coarse_epochs` asks for.

    Raises:
        ConfigError: The network does not take images of half the size.
    """
    half = config.network.image_size // 2
    network = config.network.model_dump() | {"image_size": half}
    return config.model_copy(
        update={
            "network": NetworkConfig.parse(network, source="at half the image size"),
            "preprocessing": config.preprocessing.model_copy(update={"image_size": half}),
            "training": config.training.model_copy(
                update={"epochs": config.training.coarse_epochs, "coarse_epochs": 0}
            ),
        }
    )


def _stages(config: RunConfig, output: Path) -> dict[Path, RunConfig]:
    """Return run folder -> configuration of the trainings to do; the first is at half the image size if set so."""
    if not config.training.coarse_epochs:
        return {output: config}
    return {output / COARSE: at_half_the_size(config), output: config}


@dataclass(frozen=True)
class _Setup:
    """The settings that the trainings at both image sizes share."""

    data_set: DataSet
    split: Split
    device: str
    processes: Processes
    slices_folder: Path | None
    listener: TrainingListener

    def train(self, config: RunConfig, folder: Path, seconds_limit: float | None) -> TrainingRecord:
        """Complete the training in a run folder."""
        cache = folder / "cache"
        if self.slices_folder is not None:
            cache = self.slices_folder / str(config.preprocessing.image_size)
        names = sorted(self.split.train + self.split.validation)
        slices = self._prepare(names, config, cache)
        trainer = open_run(
            *(folder, config, slices, self.split),
            data_folder=self.data_set.folder,
            device=self.device,
            processes=self.processes,
            seconds_limit=seconds_limit,
            listener=self.listener,
        )
        record = trainer.run()
        self.processes.wait()
        if self.processes.leads and self.slices_folder is None:
            remove_slices(cache)
        return record

    def _prepare(self, names: list[str], config: RunConfig, folder: Path) -> SliceSet:
        """Prepare the slices in the first process, and open them in all."""
        if self.processes.leads:
            with self.listener.preparation(names) as on_case:
                prepare_slices(self.data_set, names, config.preprocessing, folder, on_case=on_case)
        self.processes.wait()
        return prepare_slices(self.data_set, names, config.preprocessing, folder)


def _prepare_processor(device: str, training: TrainingConfig, threads: int | None) -> None:
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    if device == "cpu" and training.precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        Console(stderr=True).print(
            "this processor only emulates bf16, which is about ten times slower than --precision fp32"
        )


def train_once(
    data_set: DataSet,
    run: Path,
    split: Split,
    asked: Mapping[str, Any],
    *,
    slices_folder: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Train unless the run is complete already; a run that was killed is resumed.

    Args:
        data_set: The data set to train on.
        run: The run folder.
        split: Training, validation and test cases.
        asked: network, architecture, training and context_slices, as `train` takes them.
        slices_folder, device, threads: As `train` takes them.

    Raises:
        As `train`.
    """
    config = plan(data_set, **asked)
    if is_finished(run, config, split, data_set):
        return
    train_planned(
        *(data_set, config, run),
        split=split,
        slices_folder=slices_folder,
        resume=is_begun(run),
        device=device,
        threads=threads,
    )
