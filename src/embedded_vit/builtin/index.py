"""The built-in models and what is known of each.

The manifest of the model file holds everything that decides a mask: structures, contract, precision, patients,
compression. NAME.json adds the accuracy on held-out patients, known failures, training time and data source.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from embedded_vit.artifact.manifest import Manifest, read_artifact
from embedded_vit.config import Config, nearest_name
from embedded_vit.errors import ConfigError, FileFormatError
from embedded_vit.io.json_file import read_json_object

__all__ = [
    "MAXIMUM_BYTES",
    "BuiltinModel",
    "DataSource",
    "Facts",
    "Failure",
    "Figures",
    "OrganFigures",
    "TrainingFacts",
    "TrainingStage",
    "artifact_path",
    "builtin_model",
    "builtin_models",
    "builtin_names",
    "builtin_paths",
    "facts_path",
    "none_like",
]

FOLDER = Path(__file__).parent
MAXIMUM_BYTES = 8_000_000  # of all files of all models together


class OrganFigures(Config):
    """How well one structure is segmented, over all held-out patients."""

    dice: float | None = Field(description="mean over patients; None where no patient counts")
    scored: int = Field(description="patients who have the structure, or whose mask has it as a false positive")
    missed: int = Field(description="patients who have it and whose mask has none of it")
    hallucinated: int = Field(description="patients who do not have it and whose mask has it: false positives")


class Failure(Config):
    """A structure of a patient that was segmented badly."""

    patient: str = Field(description="the case's name in the public data set")
    organ: str
    dice: float
    kind: Literal["missed", "hallucinated", "poor"]


class Figures(Config):
    """One experiment: networks trained as the built-in one and scored on held-out patients, strict protocol."""

    experiment: str = Field(description="training and held-out patients, in words")
    patients: int = Field(ge=1, description="held-out patients that were scored")
    dice: float = Field(description="mean over structures of each structure's mean over patients")
    dice_interval: tuple[float, float] | None = Field(default=None, description="95 % bootstrap over patients")
    dice_of_other_seeds: tuple[float, ...] = Field(default=(), description="the same experiment with other seeds")
    nsd: float
    hd95: float
    unit: Literal["mm", "voxels"] = Field(description="of hd95; the tolerance of nsd is 2 of this unit")
    organs: dict[str, OrganFigures]
    worst_patient: str
    worst_patient_dice: float = Field(description="mean over the patient's structures")
    failures: tuple[Failure, ...] = Field(default=(), description="sorted, worst first")

    @property
    def worst_organ(self) -> tuple[str, float]:
        """Return the structure with the lowest mean Dice, and that Dice."""
        known = {name: organ.dice for name, organ in self.organs.items() if organ.dice is not None}
        worst = min(known, key=lambda name: known[name])
        return worst, known[worst]


class TrainingStage(Config):
    """One training in the sequence that led to the weights."""

    name: str = Field(description="in factory/table.py")
    epochs: int
    pruned_to: float | None = Field(
        default=None, description="fraction of the MACs that channel pruning left before this training"
    )
    taught_by: str | None = Field(default=None, description="the training whose network was the teacher")


class TrainingFacts(Config):
    """How the weights were trained, as far as the manifest does not say it."""

    stages: tuple[TrainingStage, ...] = Field(description="in order; each starts from the weights of the one before")
    seed: int
    precision: str = Field(description="number format of the multiplications in training")
    minutes: float = Field(description="of all trainings that led to the weights, and of the compression")
    machine: str


class DataSource(Config):
    """The training data, and the licence of the weights."""

    name: str
    licence: str
    licence_address: str
    attribution: str


class Facts(Config):
    """The content of NAME.json."""

    summary: str = Field(max_length=60, description="what the model is, in one line")
    graph_sha256: str = Field(description="of the model file that the facts are about, as in its manifest")
    figures: tuple[Figures, ...] = Field(min_length=1, description="the first one is shown in tables")
    limits: tuple[str, ...] = Field(default=(), description="known failures, one sentence each")
    training: TrainingFacts
    source: DataSource


@dataclass(frozen=True)
class BuiltinModel:
    """A model that comes with the package.

    Attributes:
        name: Name that the command line takes in place of a file.
        path: Model file.
        manifest: Manifest of the model file.
        facts: What is known besides.
        file_bytes: Size of the model file in bytes.
    """

    name: str
    path: Path
    manifest: Manifest
    facts: Facts
    file_bytes: int


def artifact_path(name: str) -> Path:
    """Return the path of a built-in model's file, whether it exists or not."""
    return FOLDER / f"{name}.onnx"


def facts_path(name: str) -> Path:
    """Return the path of a built-in model's NAME.json, whether it exists or not."""
    return FOLDER / f"{name}.json"


def builtin_names() -> list[str]:
    """Return the names of all built-in models, sorted; no file is opened."""
    return [path.stem for path in builtin_paths()]


def builtin_paths() -> list[Path]:
    """Return the files of all built-in models, sorted by name; none is opened."""
    return sorted(FOLDER.glob("*.onnx"), key=lambda path: path.stem)


def builtin_models() -> list[BuiltinModel]:
    """Read and verify all built-in models; errors as `builtin_model`."""
    return [builtin_model(name) for name in builtin_names()]


def builtin_model(name: str) -> BuiltinModel:
    """Read and verify a built-in model.

    Raises:
        ConfigError: No built-in model has the name, or its facts are invalid.
        FileFormatError: A file is missing or damaged, or the two do not belong together.
    """
    if name not in builtin_names():
        raise ConfigError(f"'{name}' is not a built-in model{none_like(name)}")
    content, manifest = read_artifact(artifact_path(name))
    path = facts_path(name)
    values = read_json_object(path, FileFormatError, hint="install embedded-vit again")
    facts = Facts.parse(values, source=str(path))
    if facts.graph_sha256 != manifest.graph_sha256:
        raise FileFormatError(
            f"{path}: its figures are of other weights than those of {name}.onnx; install embedded-vit again"
        )
    return BuiltinModel(name, artifact_path(name), manifest, facts, len(content))


def none_like(name: str) -> str:
    """Return the end of a message: ' (did you mean ...?)', or that there are none."""
    names = builtin_names()
    return nearest_name(name, names) if names else " (none comes with this version)"
