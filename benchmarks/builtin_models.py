"""Trains the built-in models, measures them, and puts them into the package: one command reproduces a model.

    python benchmarks/builtin_models.py NAME [NAME ...] --data DATA --output FOLDER [--experiments split all]

`MODELS` and `TRAININGS` below say everything. A training has several experiments: `split`, in which the data set's own
test patients test, and `split-1`, `split-2`, ..., the same with another seed; `fold-1` to `fold-K`, in which every
patient tests once; and `all`, in which none does, and whose weights are shipped. What is done is read, what was killed
goes on, and what `benchmarks/gpu_trainings.py` trained into FOLDER is taken as it is:

    FOLDER/TRAINING/EXPERIMENT/run/                 of the training, which models that differ in compression share
    FOLDER/TRAINING/EXPERIMENT/MODEL/model.onnx     the exported file; compression/ beside it where there was any
    FOLDER/TRAINING/EXPERIMENT/MODEL/evaluation/    of that file on the experiment's test patients

When `all` is among the experiments, the model is installed with the figures of all others that were evaluated. The data
stay where they are; prepared slices lie in FOLDER while a training runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from builtin_figures import pooled_figures
from experiments import at_image_size, evaluate_once, folds_of, teach_once, train_once

from embedded_vit.artifact.manifest import read_artifact, sealed
from embedded_vit.builtin import index
from embedded_vit.builtin.index import DataSource, Facts, Figures, TrainingFacts, TrainingStage
from embedded_vit.compression.compressing import compress
from embedded_vit.compression.plan import CompressionPlan
from embedded_vit.compression.record import read_compression_record
from embedded_vit.compression.step import StepContext
from embedded_vit.compression.steps.distill import Distill
from embedded_vit.compression.steps.prune_channels import PruneChannels
from embedded_vit.config import nearest_name
from embedded_vit.contract import SpacingRange
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, Split, make_split
from embedded_vit.errors import ConfigError, EmbeddedVitError, OutputError
from embedded_vit.evaluation.evaluating import METRICS_FILE
from embedded_vit.export.exporting import export
from embedded_vit.io.atomic import atomic_path, write_text
from embedded_vit.provenance import available_cores
from embedded_vit.training.checkpoint import MODEL, Checkpoint, load_checkpoint, read_record, read_run_config
from embedded_vit.training.settings import TrainingConfig

SPLIT, ALL = "split", "all"

BTCV = DataSource(
    name="BTCV abdominal CT, in TransUNet's preprocessing",
    licence="CC BY 4.0",
    licence_address="https://creativecommons.org/licenses/by/4.0/",
    attribution='Landman et al., "Multi-Atlas Labeling Beyond the Cranial Vault", MICCAI 2015, '
    "https://doi.org/10.7303/syn3193805; as prepared by Chen et al., arXiv:2102.04306",
)
HIPPOCAMPUS = DataSource(
    name="Medical Segmentation Decathlon, task 4, hippocampus in MR",
    licence="CC BY-SA 4.0",
    licence_address="https://creativecommons.org/licenses/by-sa/4.0/",
    attribution='Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 4128 (2022), '
    "https://doi.org/10.1038/s41467-022-30695-9; images of Vanderbilt University Medical Center",
)

# BTCV's slices lie 2.5 to 5 mm apart, most of them 3; export's margin of 1.5 is on both sides. TransUNet's files carry
# no spacing, so export cannot find it. In the plane a slice is scaled to the network's input whatever its pixels are,
# and they may be as large as those of the reduced CT of another scanner (docs/log/other-scanners-and-data.md).
BTCV_SPACING = SpacingRange(slices_mm=(2.5 / 1.5, 5 * 1.5), in_plane_mm=(0.6 / 1.5, 3.1))
BTCV_CONTEXT_MM = 3.0


@dataclass(frozen=True)
class Training:
    """How a network is trained, whatever becomes of it afterwards."""

    source: DataSource
    settings: Mapping[str, Any]  # as `TrainingConfig.for_recipe` takes them
    network: str | None = None  # a preset's name, or
    architecture: Mapping[str, Any] = field(default_factory=dict)  # as `network_config` takes them
    goes_on_from: str | None = None  # the training whose weights, of the same experiment, are its first
    pruned: Mapping[str, Any] = field(default_factory=dict)  # as `PruneChannels` takes it: what is done first
    taught_by: str | None = None  # the training whose network teaches; only where it goes on from another
    context_slices: int = 3
    seeds: int = 1  # with which the split is trained
    folds: int = 0  # of a cross-validation; 0 for none
    spacing_range: SpacingRange | None = None  # where the data set stores none, and likewise
    context_mm: float | None = None  # how far apart its slices lie


@dataclass(frozen=True)
class Model:
    """What is shipped under a name."""

    summary: str
    training: str
    recipe: Mapping[str, Any] | None = None  # a compression plan; None exports float32
    limits: tuple[str, ...] = ()  # known failures in words, a sentence each


MODERN = {"recipe": "modern", "precision": "bf16", "seed": 0}
ONWARDS = MODERN | {"learning_rate": 1e-3, "cutmix": 0.5}
RECOVERY = ONWARDS | {"learning_rate": 1.5e-3}
TEACHERS_WEIGHT = 0.8  # in the loss
HALF = {"steps": [{"quantize": {"precision": "fp16"}}]}
INTEGER = {
    "gate": {"metric": "dice", "keep": 0.99, "worst_organ": 0.02},
    "steps": [{"quantize": {"precision": "int8", "calibration_slices": 64}}],
}
ARTERIAL = "Few training patients are in the arterial phase; case0021 is, and is the worst of the three test patients."
CROPS = "Learned from crops of about 35 x 50 x 35 mm around the hippocampus; whole heads were never shown to it."

abdomen = partial(Training, BTCV, seeds=3, folds=5, spacing_range=BTCV_SPACING, context_mm=BTCV_CONTEXT_MM)
NARROW = {"widths": (32, 80), "depth": 1, "convolution_widths": (12, 24)}
TRAININGS: dict[str, Training] = {
    "abdomen-128": abdomen(MODERN | {"epochs": 120, "cutmix": 0.0}, architecture=NARROW | {"image_size": 128}),
    "abdomen-192": abdomen(
        ONWARDS | {"epochs": 60},
        architecture=NARROW | {"image_size": 192},
        goes_on_from="abdomen-128",
    ),
    "abdomen-64": abdomen(MODERN | {"epochs": 120, "cutmix": 0.0}, architecture=NARROW | {"image_size": 64}),
    "abdomen-64-pruned": abdomen(
        RECOVERY | {"epochs": 50},
        architecture=NARROW | {"image_size": 64},
        goes_on_from="abdomen-64",
        pruned={"target_macs": 0.45, "multiple": 16},
        taught_by="abdomen-64",
    ),
    "abdomen-128-pruned": abdomen(
        RECOVERY | {"epochs": 80},
        architecture=NARROW | {"image_size": 128},
        goes_on_from="abdomen-64",
        pruned={"target_macs": 0.58, "multiple": 16},
        taught_by="abdomen-192",
    ),
    "abdomen-128-polished": abdomen(
        MODERN | {"epochs": 30, "learning_rate": 1e-3, "cutmix": 0.0},
        architecture=NARROW | {"image_size": 128},
        goes_on_from="abdomen-128-pruned",
    ),
    "abdomen-192-pruned": abdomen(
        RECOVERY | {"epochs": 40},
        architecture=NARROW | {"image_size": 192},
        goes_on_from="abdomen-192",
        pruned={"target_macs": 0.75},
        taught_by="abdomen-192",
    ),
    "hippocampus-64": Training(HIPPOCAMPUS, MODERN | {"epochs": 12, "cutmix": 0.0}, "embedded-vit-64"),
}
ORGANS = "8 abdominal organs on CT"
MODELS: dict[str, Model] = {
    "abdomen-ct": Model(ORGANS, "abdomen-128-polished", HALF, limits=(ARTERIAL,)),
    "abdomen-ct-int8": Model(f"{ORGANS}, int8", "abdomen-128-polished", INTEGER, limits=(ARTERIAL,)),
    "abdomen-ct-large": Model(f"{ORGANS}, most accurate", "abdomen-192-pruned", HALF, limits=(ARTERIAL,)),
    "abdomen-ct-fast": Model(f"{ORGANS}, fastest", "abdomen-64-pruned", HALF, limits=(ARTERIAL,)),
    "hippocampus-mr": Model("2 parts of the hippocampus on cropped MR", "hippocampus-64", HALF, limits=(CROPS,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="where trainings and files go")
    parser.add_argument("--experiments", nargs="+", metavar="EXPERIMENT", help=f"{SPLIT}, fold-1, ..., {ALL}; or all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in MODELS:
            raise ConfigError(f"no model '{name}' in the table{nearest_name(name, MODELS)}")
        workplace = Workplace(name, arguments.data, arguments.output, arguments.device, arguments.threads)
        workplace.make(arguments.experiments)


def experiments_of(data_set: DataSet, training: Training) -> dict[str, Split]:
    """Every experiment of a training: who trains and who tests; nobody selects, the last weights are kept."""
    seed = int(training.settings["seed"])
    everyone = tuple(case.name for case in data_set.cases)
    splits = {SPLIT: make_split(data_set, seed=seed, validation_cases=0)}
    for number in range(1, training.seeds):
        splits[f"{SPLIT}-{number}"] = make_split(data_set, seed=seed + number, validation_cases=0)
    for number, fold in enumerate(folds_of(data_set, count=training.folds, seed=seed), start=1):
        splits[f"fold-{number}"] = fold
    splits[ALL] = Split(seed=seed, train=everyone, validation=(), test=())
    return splits


@dataclass(frozen=True)
class Workplace:
    """One model in the making."""

    name: str
    data: Path
    output: Path
    device: str = "cpu"
    threads: int | None = None

    @property
    def model(self) -> Model:
        return MODELS[self.name]

    @property
    def training(self) -> Training:
        return TRAININGS[self.model.training]

    def make(self, chosen: Sequence[str] | None = None) -> None:
        """Do the chosen experiments, by default every one, and install the model if `all` is among them."""
        data_set = open_data_set(self.data)
        splits = experiments_of(data_set, self.training)
        for experiment in chosen or splits:
            if experiment not in splits:
                raise ConfigError(f"{self.name} has no experiment '{experiment}'{nearest_name(experiment, splits)}")
        for experiment in chosen or splits:
            print(f"{self.name}, {experiment}: training", file=sys.stderr, flush=True)
            self.trained(data_set, experiment, splits[experiment])
            print(f"{self.name}, {experiment}: exporting and testing", file=sys.stderr, flush=True)
            self.exported(experiment)
            if splits[experiment].test:
                evaluate_once(self.artifact(experiment), data_set, self.evaluation(experiment), threads=self.threads)
        if ALL in (chosen or splits):
            install(self.name, self.artifact(ALL), self.facts(splits), self.training)
            print(f"{self.name}: installed as {index.artifact_path(self.name)}")

    def run(self, experiment: str, training: str | None = None) -> Path:
        """The run folder of a training, by default the model's own."""
        return self.output / (training or self.model.training) / experiment / "run"

    def artifact(self, experiment: str) -> Path:
        """The exported file of an experiment."""
        return self.run(experiment).with_name(self.name) / "model.onnx"

    def compression(self, experiment: str) -> Path:
        """The run folder of an experiment's compression."""
        return self.artifact(experiment).with_name("compression")

    def evaluation(self, experiment: str) -> Path:
        """The folder with an experiment's `metrics.json`."""
        return self.run(experiment).with_name(self.name) / "evaluation"

    def trained(self, data_set: DataSet, experiment: str, split: Split) -> None:
        """Train with the experiment's own split and seed, after all trainings that it goes on from or is taught by.

        What was killed goes on, what is done is left alone.

        Args:
            data_set: What to train on.
            experiment: Names the run folders.
            split: Who trains and who tests.
        """
        for name in trainings_for(self.model.training):
            training, run = TRAININGS[name], self.run(experiment, name)
            if training.taught_by:
                student, step = self.student(experiment, name)
                teach_once(data_set, run, student, step, device=self.device, threads=self.threads)
            else:
                asked = asked_of(training, split, self.first_weights(experiment, name))
                train_once(data_set, run, split, asked, device=self.device, threads=self.threads)

    def student(self, experiment: str, training: str) -> tuple[Checkpoint, Distill]:
        """What a training begins with that is taught, at its own image size, and the lesson.

        Raises:
            ConfigError: It goes on from nothing.
        """
        entry = TRAININGS[training]
        before = self.first_weights(experiment, training)
        if before is None or entry.taught_by is None:
            raise ConfigError(f"{training}: only a training that goes on from another can be taught")
        chosen = {name: entry.settings[name] for name in ("epochs", "learning_rate", "cutmix")}
        teacher = self.run(experiment, entry.taught_by)
        step = Distill(teacher=(teacher,), weight=TEACHERS_WEIGHT, **chosen)
        return at_image_size(load_checkpoint(before), entry.architecture["image_size"]), step

    def first_weights(self, experiment: str, training: str) -> Path | None:
        """The run folder whose weights a training goes on from, pruned if the table says so; None for none.

        What the split has left is what every experiment leaves, so that all of them are one network.
        """
        entry = TRAININGS[training]
        before = self.run(experiment, entry.goes_on_from) if entry.goes_on_from else None
        if before is None or not entry.pruned:
            return before
        start = self.run(experiment, training).with_name("start")
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

    def exported(self, experiment: str) -> None:
        """Export a run, through a compression where the model has one.

        Raises:
            ConfigError: It was exported by another recipe before.
        """
        path = self.artifact(experiment)
        recipe = None if self.model.recipe is None else CompressionPlan.from_plain(self.model.recipe, source=self.name)
        if path.exists():
            _, manifest = read_artifact(path)
            if manifest.compression != (recipe and recipe.plain()):
                raise ConfigError(f"{path.parent}: was made by another recipe; remove it or correct the table")
        elif recipe is None:
            export(self.run(experiment), path, data_folder=self.data)
        else:
            folder = self.compression(experiment)
            compress(
                self.run(experiment),
                recipe,
                folder,
                data_folder=self.data,
                resume=(folder / "recipe.json").exists(),
                device=self.device,
                threads=self.threads,
            )
            with atomic_path(path) as temporary:
                shutil.copyfile(folder / "model.onnx", temporary)

    def facts(self, splits: Mapping[str, Split]) -> Facts:
        """All that NAME.json says, from the table and from what lies in the folders."""
        records = {name: read_record(self.run(ALL, name)) for name in trainings_for(self.model.training)}
        seconds = sum(epoch.seconds for record in records.values() for epoch in record.epochs)
        if self.model.recipe is not None:
            seconds += sum(stage.seconds for stage in read_compression_record(self.compression(ALL)).stages)
        config = read_run_config(self.run(ALL))
        _, manifest = read_artifact(self.artifact(ALL))
        return Facts(
            summary=self.model.summary,
            graph_sha256=manifest.graph_sha256,
            figures=self.figures(splits),
            limits=self.model.limits,
            training=TrainingFacts(
                stages=tuple(
                    TrainingStage(
                        name=name,
                        epochs=len(records[name].epochs),
                        pruned_to=TRAININGS[name].pruned.get("target_macs"),
                        taught_by=TRAININGS[name].taught_by,
                    )
                    for name in chain_of(self.model.training)
                ),
                seed=config.training.seed,
                precision=config.training.precision,
                minutes=round(seconds / 60, 1),
                machine=" and ".join(dict.fromkeys(record.machine for record in records.values())),
            ),
            source=self.training.source,
        )

    def figures(self, splits: Mapping[str, Split]) -> tuple[Figures, ...]:
        """The cross-validation, of those of its folds that were evaluated, then the split.

        Raises:
            ConfigError: Neither was.
        """
        folds = [name for name in splits if name.startswith("fold-")]
        validated, tested = self._metrics(folds), self._metrics([SPLIT])
        repeated = self._metrics([name for name in splits if name.startswith(f"{SPLIT}-")])
        everyone, split = len(splits[ALL].train), splits[SPLIT]
        found = []
        if validated:
            which = f"{len(folds)} folds, {everyone} patients"
            if len(validated) < len(folds):
                patients = sum(len(metrics["cases"]) for metrics in validated)
                which = f"{len(validated)} of {len(folds)} folds, {patients} of {everyone} patients"
            found.append(pooled_figures(validated, f"Cross-validation, {which}"))
        if tested:
            figures = pooled_figures(tested, f"{len(split.train)} patients trained, {len(split.test)} tested")
            others = tuple(float(metrics["mean"]["dice"]) for metrics in repeated)
            found.append(figures.model_copy(update={"dice_of_other_seeds": others}))
        if not found:
            raise ConfigError(
                f"{self.name}: nothing was evaluated, so it has no figures; do the experiment {SPLIT} too"
            )
        return tuple(found)

    def _metrics(self, experiments: Sequence[str]) -> list[dict[str, Any]]:
        """What the evaluations of these experiments found; of those that were done."""
        paths = [self.evaluation(experiment) / METRICS_FILE for experiment in experiments]
        return [json.loads(path.read_text()) for path in paths if path.exists()]


def chain_of(training: str) -> list[str]:
    """The names of a training and of all that it goes on from, the first one first."""
    before = TRAININGS[training].goes_on_from
    return [*(chain_of(before) if before else []), training]


def trainings_for(training: str) -> list[str]:
    """The names of a training and of all that it goes on from or is taught by, each after those that it needs."""
    entry = TRAININGS[training]
    needed = [name for before in (entry.goes_on_from, entry.taught_by) if before for name in trainings_for(before)]
    return list(dict.fromkeys([*needed, training]))


def asked_of(training: Training, split: Split, before: Path | None) -> dict[str, Any]:
    """What `plan` and `train` take for a training that nobody teaches; `before` is the run that it goes on from."""
    settings = {**training.settings, "seed": split.seed, "init": None if before is None else str(before)}
    return {
        "network": training.network,
        "architecture": training.architecture,
        "training": TrainingConfig.for_recipe(**settings),
        "context_slices": training.context_slices,
    }


def install(name: str, artifact: Path, facts: Facts, training: Training) -> None:
    """Put an artifact into the package under a name of its own, and its facts beside it.

    Args:
        name: Takes the place of the network's in the manifest, and so in what `predict` writes.
        artifact: The exported file.
        facts: What is known besides its manifest.
        training: Tells the spacing that the manifest does not.

    Raises:
        OutputError: All models together would be larger than a package may be.
    """
    content, manifest = read_artifact(artifact)
    preprocessing = manifest.preprocessing.model_copy(update={"context_mm": training.context_mm})
    changes = {
        "name": name,
        "preprocessing": preprocessing,
        "spacing_range": manifest.spacing_range or training.spacing_range,
    }
    content = sealed(content, manifest.model_copy(update=changes))
    text = facts.model_dump_json(indent=1) + "\n"
    others = [path for path in index.FOLDER.iterdir() if path.is_file() and path.stem != name]
    total_bytes = sum(path.stat().st_size for path in others) + len(content) + len(text)
    if total_bytes > index.MAXIMUM_BYTES:
        raise OutputError(
            f"{name}: the built-in models would take {total_bytes / 1e6:.2f} MB with it, "
            f"{index.MAXIMUM_BYTES / 1e6:g} MB at most are allowed; compress it, or remove another"
        )
    with atomic_path(index.artifact_path(name), overwrite=True) as temporary:
        temporary.write_bytes(content)
    write_text(index.facts_path(name), text, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except EmbeddedVitError as error:
        sys.exit(f"builtin_models.py: {error}")
