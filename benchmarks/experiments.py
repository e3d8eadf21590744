"""Trainings with a split of their own, and tests of them. Each is done once and resumes where it was killed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedded_vit.compression.step import StepContext
from embedded_vit.compression.steps.distill import Distill
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.evaluation.evaluating import METRICS_FILE, evaluate
from embedded_vit.provenance import available_cores
from embedded_vit.training.checkpoint import MODEL, STATE, Checkpoint, read_record, read_run_config
from embedded_vit.training.settings import RunConfig
from embedded_vit.training.training import plan, train

__all__ = ["at_image_size", "evaluate_once", "folds_of", "is_done", "taught_config", "teach_once", "train_once"]


def folds_of(data_set: DataSet, *, count: int, seed: int) -> list[Split]:
    """The splits of a cross-validation: every patient tests once, and nobody selects.

    Patients are dealt in an order drawn by the seed, test patients of the layout among them.
    """
    names = tuple(case.name for case in data_set.cases)
    patients = sorted({case.patient for case in data_set.cases})
    order = np.random.default_rng(seed).permutation(len(patients))
    splits = []
    for fold in range(count):
        tested = {patients[place] for place in order[fold::count]}
        test = tuple(case.name for case in data_set.cases if case.patient in tested)
        train = tuple(name for name in names if name not in test)
        splits.append(Split(seed=seed, train=train, validation=(), test=test))
    return splits


def train_once(
    data_set: DataSet,
    run: Path,
    split: Split,
    asked: Mapping[str, Any],
    *,
    slices_folder: Path | None = None,
    device: str = "cpu",
    threads: int | None,
) -> None:
    """Train with a given split; what was killed goes on, what is done is left alone.

    Args:
        data_set: What to train on.
        run: The run folder.
        split: Who trains and who tests.
        asked: network, architecture, training and context_slices, as `train` takes them.
        slices_folder, device, threads: As `train` takes them.
    """
    if is_done(run, plan(data_set, **asked), split):
        return
    train(
        data_set.folder,
        run,
        **asked,
        split=split,
        slices_folder=slices_folder,
        resume=(run / STATE).is_file(),
        device=device,
        threads=threads,
    )


def teach_once(
    data_set: DataSet, run: Path, student: Checkpoint, step: Distill, *, device: str = "cpu", threads: int | None
) -> None:
    """Train a run on with a teacher; what was killed goes on, what is done is left alone.

    Args:
        data_set: What both were trained on.
        run: The run folder to make.
        student: Its weights are the first ones.
        step: Teachers and settings.
        device, threads: As `train` takes them.
    """
    if is_done(run, taught_config(student, step), student.record.split):
        return
    context = StepContext(data_set.folder, student, run, device=device, threads=threads or available_cores())
    step.apply(student, context, run, frozenset())
    context.clear()


def at_image_size(checkpoint: Checkpoint, image_size: int) -> Checkpoint:
    """The same weights as a network for larger or smaller images: none of them depends on the size."""
    network = checkpoint.config.network.model_copy(update={"image_size": image_size})
    preprocessing = checkpoint.config.preprocessing.model_copy(update={"image_size": image_size})
    config = checkpoint.config.model_copy(update={"network": network, "preprocessing": preprocessing})
    return replace(checkpoint, config=config)


def taught_config(before: Checkpoint, step: Distill) -> RunConfig:
    """The configuration of a run that a distillation makes."""
    return before.config.with_training(epochs=step.epochs, learning_rate=step.learning_rate, cutmix=step.cutmix)


def is_done(run: Path, planned: RunConfig, split: Split) -> bool:
    """Whether a run was trained to its end in the way planned; what is found in the data, the islands, may differ."""
    if not (run / MODEL).is_file():
        return False
    config, record = read_run_config(run), read_record(run)
    same = config.model_copy(update={"postprocessing": planned.postprocessing}) == planned
    return same and record.split == split and len(record.epochs) == planned.training.epochs


def evaluate_once(model: Path, data_set: DataSet, folder: Path, *, threads: int | None) -> None:
    """Test a run or an exported file on its own test patients, strict protocol; what is done is left alone."""
    if (folder / METRICS_FILE).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)  # of an evaluation that was killed
    evaluate(model, data_set.folder, output=folder, threads=threads)
