"""Run folders: writing and reading them. Nothing is ever unpickled.

config.json          RunConfig: network, preprocessing, labels, training settings
model.safetensors    the selected weights (averaged ones where the recipe averages)
training.json        TrainingRecord: data, split, metrics by epoch, versions
state.safetensors    everything that `--resume` needs, in one file, so that it is never incomplete
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from embedded_vit.boundary import one_line_errors
from embedded_vit.config import Config
from embedded_vit.datasets.data_set import Split
from embedded_vit.errors import CheckpointError, OutputError
from embedded_vit.io.atomic import atomic_path, write_text
from embedded_vit.io.json_file import read_json_object
from embedded_vit.models.reference_checkpoint import load_into, read_reference_file
from embedded_vit.models.registry import build_network, source_changed
from embedded_vit.training.settings import RunConfig

__all__ = [
    "Checkpoint",
    "EpochMetrics",
    "TrainingRecord",
    "describe_run",
    "initialise",
    "load_checkpoint",
    "load_state",
    "load_tensors",
    "read_record",
    "read_run_config",
    "save_checkpoint",
    "save_record",
    "save_state",
]

MODEL, CONFIG, RECORD, STATE = "model.safetensors", "config.json", "training.json", "state.safetensors"


class EpochMetrics(Config):
    """The figures of one epoch, which are one row of the log."""

    epoch: int
    loss: float
    validation_dice: float | None
    learning_rate: float
    images_per_second: float
    loading_fraction: float
    seconds: float


class TrainingRecord(Config):
    """The record of a training, kept as `training.json`: data, split, figures of every epoch, machine."""

    data_folder: str
    data_fingerprint: str = Field(description="SHA-256 over the slices as the network saw them")
    files_sha256: str = Field(default="", description="digest of the training and validation cases' files")
    split: Split
    epochs: tuple[EpochMetrics, ...] = ()
    selected_epoch: int | None = None
    machine: str = ""
    versions: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A trained network with its configuration and its record."""

    network: nn.Module
    config: RunConfig
    record: TrainingRecord

    def save(self, folder: Path) -> None:
        """Write a run folder; errors as `save_checkpoint`."""
        save_checkpoint(folder, self.network.state_dict(), self.config, self.record)


def save_checkpoint(folder: Path, weights: Mapping[str, Tensor], config: RunConfig, record: TrainingRecord) -> None:
    """Write `config.json`, `model.safetensors` and `training.json`, each atomically, in place of older ones.

    The record is last: it says how many epochs the run has, and so whether it is finished.

    Raises:
        OutputError: The folder cannot be written or the disk is full.
    """
    _save_config(folder, config)
    _save_tensors(folder / MODEL, weights, {})
    save_record(folder, record)


def describe_run(folder: Path, config: RunConfig, record: TrainingRecord) -> None:
    """Write `config.json` and `training.json`, before the first epoch too; errors as `save_checkpoint`."""
    _save_config(folder, config)
    save_record(folder, record)


def save_record(folder: Path, record: TrainingRecord) -> None:
    """Write `training.json`; errors as `save_checkpoint`."""
    write_text(folder / RECORD, record.model_dump_json(indent=1), overwrite=True)


def _save_config(folder: Path, config: RunConfig) -> None:
    write_text(folder / CONFIG, config.model_dump_json(indent=1), overwrite=True)


def load_checkpoint(folder: str | Path) -> Checkpoint:
    """Rebuild a run's network with its selected weights, in evaluation mode.

    Raises:
        CheckpointError: A file is missing or damaged, or the weights do not fit the configuration.
    """
    folder = Path(folder)
    config, record = read_run_config(folder), read_record(folder)
    network = build_network(config.network)
    try:
        _load_weights(network, load_tensors(folder / MODEL), folder / MODEL)
    except CheckpointError as error:
        if source_changed(config.network):
            raise CheckpointError(f"{error}; the source of {config.network.model} has changed since") from error
        raise
    return Checkpoint(network.eval(), config, record)


def read_run_config(folder: Path) -> RunConfig:
    """Read a run's `config.json`.

    Raises:
        CheckpointError: The folder is not a run folder, or the file is damaged.
    """
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder}: not a run of `embedded-vit train` (no {CONFIG})")
    return RunConfig.parse(read_json_object(folder / CONFIG, CheckpointError), source=str(folder / CONFIG))


def read_record(folder: Path) -> TrainingRecord:
    """Read a run's `training.json`.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    return TrainingRecord.parse(read_json_object(folder / RECORD, CheckpointError), source=str(folder / RECORD))


def save_state(folder: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write everything that resuming needs as one file.

    Args:
        folder: The run.
        tensors: Tensors by name.
        metadata: JSON values by name.
    """
    _save_tensors(folder / STATE, tensors, {"state": json.dumps(metadata)})


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote.

    Raises:
        CheckpointError: There is nothing to resume from, or the state is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        raise CheckpointError(f"{folder}: nothing to resume from (no {STATE}); train without --resume")
    tensors = load_tensors(path)
    told = one_line_errors(path, CheckpointError, what="damaged", advice="train again without --resume")
    with told, safe_open(path, "pt") as file:
        metadata = json.loads((file.metadata() or {}).get("state", "{}"))
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: damaged (its metadata are not a JSON object); train again without --resume")
    return tensors, metadata


def initialise(network: nn.Module, config: RunConfig, source: str | Path) -> None:
    """Load initial weights from the authors' `.pth` file or from a run folder of the same network.

    Raises:
        CheckpointError: The weights do not fit; the message names the tensor.
    """
    source = Path(source)
    if source.is_dir():
        _load_weights(network, load_tensors(source / MODEL), source / MODEL)
    else:
        load_into(network, config.network, read_reference_file(source))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a file by name.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    with one_line_errors(path, CheckpointError, what="damaged", advice="copy the run again, or train again"):
        return load_file(path)


def _load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    for name in own.keys() | tensors.keys():
        theirs = tuple(tensors[name].shape) if name in tensors else "nothing"
        expected = tuple(own[name].shape) if name in own else "nothing"
        if theirs != expected:
            raise CheckpointError(f"{path}: tensor {name}: the file has {theirs}, the network expects {expected}")
    network.load_state_dict(dict(tensors))


def _save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path, overwrite=True) as temporary:
        try:
            save_file(plain, temporary, metadata)
        except SafetensorError as error:  # the library raises it for errors of the operating system too
            raise OutputError(f"{path}: cannot write: {error}") from error
