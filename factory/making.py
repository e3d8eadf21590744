"""The making of a built-in model: trainings, pruning, distillation, export, test."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.builtin import index
from embedded_vit.compression.compressing import compress
from embedded_vit.compression.plan import CompressionPlan
from embedded_vit.compression.step import StepContext
from embedded_vit.compression.steps.distill import Distill
from embedded_vit.compression.steps.prune_channels import PruneChannels
from embedded_vit.config import nearest_name
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.errors import ConfigError
from embedded_vit.evaluation.evaluating import evaluate_once
from embedded_vit.export.exporting import export
from embedded_vit.io.atomic import atomic_path
from embedded_vit.provenance import available_cores
from embedded_vit.training.checkpoint import MODEL, Checkpoint, load_checkpoint
from embedded_vit.training.run import is_finished
from embedded_vit.training.settings import RunConfig, TrainingConfig
from embedded_vit.training.training import train_once
from factory import table
from factory.experiments import ALL, SPLIT, experiments_of
from factory.facts import facts_of, figures_of
from factory.folders import ModelFolders
from factory.installing import install, is_of_training, renew_figures
from factory.plausible_masks import add_plausibility
from factory.records import keep_record
from factory.table import Training

__all__ = ["ModelMaker", "asked_of", "taught_config"]


@dataclass(frozen=True)
class ModelMaker:
    """Makes one built-in model; complete runs are left alone, those that were killed are resumed.

    Attributes:
        folders: The model's folders.
        data: The data set.
        device: Where to train.
        threads: CPU threads; by default all cores.
    """

    folders: ModelFolders
    data: Path
    device: str = "cpu"
    threads: int | None = None

    def make(self, chosen: Sequence[str] | None = None) -> None:
        """Run the chosen experiments, by default all, and install the model if `all` is among them.

        Without `all`, a model that this training has already put into the package gets the figures that are new.

        Raises:
            ConfigError: An experiment does not exist, or none was evaluated.
        """
        folders, data_set = self.folders, open_data_set(self.data)
        splits = experiments_of(data_set, folders.training)
        names = list(chosen or splits)
        for experiment in names:
            if experiment not in splits:
                raise ConfigError(f"{folders.name} has no experiment '{experiment}'{nearest_name(experiment, splits)}")
        for experiment in names:
            print(f"{folders.name}, {experiment}: training", file=sys.stderr, flush=True)
            self.train(data_set, experiment, splits[experiment])
            print(f"{folders.name}, {experiment}: exporting and testing", file=sys.stderr, flush=True)
            self.export(experiment)
            if splits[experiment].test:
                evaluation = folders.evaluation(experiment)
                evaluate_once(folders.artifact(experiment), self.data, evaluation, threads=self.threads)
                keep_record(folders, experiment)
        if ALL in names:
            install(folders.name, folders.artifact(ALL), facts_of(folders, splits), folders.training)
            add_plausibility(folders.name, data_set, folders.training)
            print(f"{folders.name}: installed as {index.artifact_path(folders.name)}")
        elif folders.records and is_of_training(folders.name, folders.model.training):
            renew_figures(folders.name, figures_of(folders, splits))
            print(f"{folders.name}: its figures are renewed")

    def train(self, data_set: DataSet, experiment: str, split: Split) -> None:
        """Run the model's training with an experiment's split, after all trainings that it needs.

        Args:
            data_set: The data set.
            experiment: The experiment, which names the run folders.
            split: Training and test cases, and the seed.
        """
        for name in table.trainings_for(self.folders.model.training):
            run = self.folders.run(experiment, name)
            if table.TRAININGS[name].taught_by is None:
                asked = asked_of(table.TRAININGS[name], split, self.first_weights(experiment, name))
                train_once(data_set, run, split, asked, device=self.device, threads=self.threads)
            else:
                student, step = self.student(experiment, name)
                self._teach(student, step, run)

    def _teach(self, student: Checkpoint, step: Distill, run: Path) -> None:
        split = student.record.split
        if is_finished(run, taught_config(student, step), split, open_data_set(self.data)):
            return
        context = StepContext(self.data, student, run, device=self.device, threads=self.threads or available_cores())
        step.apply(student, context, run, frozenset())
        context.clear()

    def student(self, experiment: str, training: str) -> tuple[Checkpoint, Distill]:
        """Return the network that a training with a teacher starts from, at its own image size, and the teaching step.

        Raises:
            ConfigError: The training starts from fresh weights.
        """
        entry = table.TRAININGS[training]
        before = self.first_weights(experiment, training)
        if before is None or entry.taught_by is None:
            raise ConfigError(f"{training}: only a training that starts from another can be taught")
        chosen = {name: entry.settings[name] for name in ("epochs", "learning_rate", "cutmix")}
        teacher = self.folders.run(experiment, entry.taught_by)
        step = Distill(teacher=(teacher,), weight=table.TEACHERS_WEIGHT, **chosen)
        return at_image_size(load_checkpoint(before), entry.architecture["image_size"]), step

    def first_weights(self, experiment: str, training: str) -> Path | None:
        """Return the run folder that a training starts from, pruned if the table says so; None for fresh weights.

        Every experiment keeps the channels that the split has kept, so that all have the same network.
        """
        entry = table.TRAININGS[training]
        before = self.folders.run(experiment, entry.starts_from) if entry.starts_from else None
        if before is None or not entry.pruned:
            return before
        start = self.folders.start(experiment, training)
        if not (start / MODEL).is_file():  # written last
            whole = load_checkpoint(before)
            asked = dict(entry.pruned)
            if experiment != SPLIT:
                asked |= {"target_macs": None, "widths_of": self.first_weights(SPLIT, training)}
            step = PruneChannels(**asked, rounds=1, epochs=entry.settings["epochs"])
            context = StepContext(self.data, whole, start, threads=self.threads or available_cores())
            step.at_once(whole, context, start).save(start)
            context.clear()
        return start

    def export(self, experiment: str) -> None:
        """Export a run, through a compression where the model has a plan.

        Raises:
            ConfigError: The file was made by another plan.
        """
        path, wanted = self.folders.artifact(experiment), self.folders.model.plan
        compression_plan = None if wanted is None else CompressionPlan.from_plain(wanted, source=self.folders.name)
        if path.exists():
            _, manifest = read_artifact(path)
            if manifest.compression != (compression_plan and compression_plan.shareable()):
                raise ConfigError(
                    f"{path.parent}: was made by another compression plan; remove it, or correct factory/table.py"
                )
        elif compression_plan is None:
            export(self.folders.run(experiment), path, data_folder=self.data)
        else:
            self._compress(experiment, compression_plan, path)

    def _compress(self, experiment: str, compression_plan: CompressionPlan, path: Path) -> None:
        folder = self.folders.compression(experiment)
        compress(
            self.folders.run(experiment),
            compression_plan,
            folder,
            data_folder=self.data,
            resume=(folder / "recipe.json").exists(),
            device=self.device,
            threads=self.threads,
        )
        with atomic_path(path) as temporary:
            shutil.copyfile(folder / "model.onnx", temporary)


def asked_of(training: Training, split: Split, before: Path | None) -> dict[str, Any]:
    """Return the arguments of `plan` and `train` for a training without a teacher.

    Args:
        training: The training's entry in the table.
        split: The split, whose seed becomes that of the training.
        before: The run folder that the training starts from; None for fresh weights.
    """
    settings = {**training.settings, "seed": split.seed, "init": None if before is None else str(before)}
    return {
        "network": training.network,
        "architecture": training.architecture,
        "training": TrainingConfig.for_recipe(**settings),
        "context_slices": training.context_slices,
    }


def at_image_size(checkpoint: Checkpoint, image_size: int) -> Checkpoint:
    """Return a network with the same weights for another image size; no weight depends on the size."""
    network = checkpoint.config.network.model_copy(update={"image_size": image_size})
    preprocessing = checkpoint.config.preprocessing.model_copy(update={"image_size": image_size})
    config = checkpoint.config.model_copy(update={"network": network, "preprocessing": preprocessing})
    return replace(checkpoint, config=config)


def taught_config(before: Checkpoint, step: Distill) -> RunConfig:
    """Return the configuration of a run that a distillation makes."""
    return before.config.with_training(epochs=step.epochs, learning_rate=step.learning_rate, cutmix=step.cutmix)
