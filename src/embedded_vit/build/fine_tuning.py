"""Training a model further on a few corrected masks: where it begins, and the plan for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from embedded_vit.build.context import BuildContext
from embedded_vit.counted import counted
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.datasets.patients import with_patients
from embedded_vit.errors import DataSetError
from embedded_vit.export.reading_back import checkpoint_of_artifact, config_of_artifact, with_statistics
from embedded_vit.planning.build_plan import BuildPlan, SplitPlan
from embedded_vit.training.checkpoint import MODEL, Checkpoint, TrainingRecord, load_checkpoint, read_run_config
from embedded_vit.training.settings import TrainingConfig
from embedded_vit.training.slices import prepare_slices

__all__ = ["fine_tuning_plan", "initial_checkpoint", "write_start"]

EPOCHS = 40  # at most; the clock decides
LEARNING_RATE = 5e-4  # a quarter of that of a fresh network, whose first layers have all to learn
STATISTICS_SLICES = 64


def initial_checkpoint(init: Path) -> Checkpoint:
    """Read the network to train further: from a run folder, or from a model file.

    Raises:
        CheckpointError, FileFormatError: It cannot be read, or a model file cannot be trained further.
    """
    return load_checkpoint(init) if init.is_dir() else checkpoint_of_artifact(init)


def fine_tuning_plan(data_set: DataSet, init: Path, *, minutes: float = 60.0, patient: str | None = None) -> BuildPlan:
    """Plan the further training of a model: its network, pruned or not, and its preprocessing stay.

    Args:
        data_set: Corrected cases, with the model's structures.
        init: A run folder or a model file.
        minutes: For the whole build.
        patient: How the patient of a case is recognised.

    Raises:
        DataSetError: The data set has other structures, channels or another modality.
        CheckpointError, FileFormatError: The model cannot be read or trained further.
    """
    data_set = with_patients(data_set, patient)
    config = read_run_config(init) if init.is_dir() else config_of_artifact(init)
    ours, theirs = data_set.labels.names, config.labels.names
    if ours != theirs:
        raise DataSetError(
            f"{data_set.folder}: its structures are {', '.join(ours)}; {init} segments {', '.join(theirs)}; give masks "
            "of these structures, or build without --init"
        )
    expected = config.preprocessing
    if (data_set.modality, len(data_set.channels)) != (expected.modality, len(expected.channels)):
        raise DataSetError(
            f"{data_set.folder}: {data_set.modality} with {counted(len(data_set.channels), 'channel')}; {init} expects "
            f"{expected.modality} with {len(expected.channels)}; build without --init"
        )
    training = TrainingConfig.for_recipe("modern", epochs=EPOCHS, learning_rate=LEARNING_RATE, cutmix=0.0)
    kept = sum(config.network.kept_channels.values())
    return BuildPlan(
        preprocessing=expected.model_copy(update={"channels": data_set.channels}),
        network=config.network,
        training=training,
        mirror=config.labels.mirror,
        split=SplitPlan(patient=patient),
        minutes=minutes,
        reasons={
            "network": f"that of {init.name}{', pruned as it is' if kept else ''}: its weights are trained further",
            "preprocessing": "as the model was trained; other intensities would be new to it",
            "training": f"at most {EPOCHS} epochs, a quarter of the usual learning rate: few masks are soon learnt",
        },
    )


def write_start(context: BuildContext) -> None:
    """Write the run folder that the training begins with, unless it is there; its split is that of this build."""
    assert context.init is not None
    if (context.start / MODEL).is_file():  # written last
        return
    checkpoint = initial_checkpoint(context.init)
    if not context.init.is_dir():
        with_statistics(checkpoint.network, _training_images(context))
    record = TrainingRecord(
        data_folder=str(context.data_folder.resolve()),
        data_fingerprint=checkpoint.record.data_fingerprint,
        split=context.split,
    )
    replace(checkpoint, record=record).save(context.start)


def _training_images(context: BuildContext) -> torch.Tensor:
    """Return training slices, evenly spread: (B, C, S, S) float32."""
    preprocessing = context.config.preprocessing
    names = sorted(context.split.train + context.split.validation)
    slices = prepare_slices(context.data_set, names, preprocessing, context.slices / str(preprocessing.image_size))
    indices = slices.indices_of(context.split.train)
    chosen = indices[np.linspace(0, len(indices) - 1, min(len(indices), STATISTICS_SLICES)).round().astype(int)]
    images, _ = slices.batch(chosen, preprocessing.context_slices)
    return torch.from_numpy(images)
