"""Which models come with the package, and what is known of each.

The artifact's manifest says all that decides a mask: structures, contract, precision, patients, compression. NAME.json
adds what no manifest can: how well networks trained in the same way segment patients that they were not shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from embedded_vit.artifact.manifest import Manifest, read_artifact
from embedded_vit.config import Config, nearest_name
from embedded_vit.errors import ConfigError, FileFormatError

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
    """How well one structure is segmented, over all tested patients."""

    dice: float | None = Field(description="mean over patients; None where no patient counts")
    scored: int = Field(description="patients who have the structure, or of whom it was invented")
    missed: int = Field(description="patients who have it, and nothing of it was found")
    hallucinated: int = Field(description="patients who do not have it, and it was found")


class Failure(Config):
    """One structure of one patient that was segmented badly."""

    patient: str = Field(description="the case's name in the public data set")
    organ: str
    dice: float
    kind: Literal["missed", "hallucinated", "poor"]


class Figures(Config):
    """One experiment: networks trained as the shipped one, on patients that they were not shown; strict protocol."""

    experiment: str = Field(description="who trained and who tested, in words")
    patients: int = Field(ge=1, description="that were tested")
    dice: float = Field(description="mean over structures of each structure's mean over patients")
    dice_interval: tuple[float, float] | None = Field(default=None, description="95 % bootstrap over patients")
    dice_of_other_seeds: tuple[float, ...] = Field(default=(), description="the same experiment trained again")
    nsd: float
    hd95: float
    unit: Literal["mm", "voxels"] = Field(description="of hd95; the tolerance of nsd is 2 of them")
    organs: dict[str, OrganFigures]
    worst_patient: str
    worst_patient_dice: float = Field(description="mean over the patient's structures")
    failures: tuple[Failure, ...] = Field(default=(), description="the worst first")

    @property
    def worst_organ(self) -> tuple[str, float]:
        """The structure with the lowest mean Dice, and that Dice."""
        known = {name: organ.dice for name, organ in self.organs.items() if organ.dice is not None}
        worst = min(known, key=lambda name: known[name])
        return worst, known[worst]


class TrainingStage(Config):
    """One training of the chain that led to the weights."""

    name: str = Field(description="in the table of benchmarks/builtin_models.py")
    epochs: int
    pruned_to: float | None = Field(default=None, description="at most this fraction of the operations was left before")
    taught_by: str | None = Field(default=None, description="the training whose network taught")


class TrainingFacts(Config):
    """How long the shipped weights took, and what repeats them besides the manifest."""

    stages: tuple[TrainingStage, ...] = Field(description="the first one first, each on the weights of the one before")
    seed: int
    precision: str = Field(description="of the multiplications in training")
    minutes: float = Field(description="of all trainings that led to them, and of the compression")
    machine: str


class DataSource(Config):
    """Whose data a network learned from, and under which licence its weights are passed on."""

    name: str
    licence: str
    licence_address: str
    attribution: str


class Facts(Config):
    """NAME.json."""

    summary: str = Field(max_length=60, description="what it is, in one line")
    graph_sha256: str = Field(description="of the artifact that all of this is about, as its manifest has it")
    figures: tuple[Figures, ...] = Field(min_length=1, description="the first is the one that tables show")
    limits: tuple[str, ...] = Field(default=(), description="known failures in words, a sentence each")
    training: TrainingFacts
    source: DataSource


@dataclass(frozen=True)
class BuiltinModel:
    """A model that comes with the package.

    Attributes:
        name: What the command line takes in place of a file.
        path: The artifact.
        manifest: What the artifact says of itself.
        facts: What is known besides.
        file_bytes: The artifact's size.
    """

    name: str
    path: Path
    manifest: Manifest
    facts: Facts
    file_bytes: int


def artifact_path(name: str) -> Path:
    """Where a built-in model's artifact lies, or would."""
    return FOLDER / f"{name}.onnx"


def facts_path(name: str) -> Path:
    """Where what is known of a built-in model lies, or would."""
    return FOLDER / f"{name}.json"


def builtin_names() -> list[str]:
    """The names of all models that come with the package, sorted; no file is opened."""
    return [path.stem for path in builtin_paths()]


def builtin_paths() -> list[Path]:
    """The artifacts of all models that come with the package, sorted by name; none is opened."""
    return sorted(FOLDER.glob("*.onnx"), key=lambda path: path.stem)


def builtin_models() -> list[BuiltinModel]:
    """Read what is known of all of them; errors as `builtin_model`."""
    return [builtin_model(name) for name in builtin_names()]


def builtin_model(name: str) -> BuiltinModel:
    """Read and verify a built-in model.

    Raises:
        ConfigError: None is called so, or its facts are not what they should be.
        FileFormatError: A file is missing or damaged, or the two do not belong together.
    """
    if name not in builtin_names():
        raise ConfigError(f"'{name}' is no built-in model{none_like(name)}")
    content, manifest = read_artifact(artifact_path(name))
    path = facts_path(name)
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise FileFormatError(f"{path}: missing or not a JSON object; install embedded-vit again") from error
    facts = Facts.parse(values, source=str(path))
    if facts.graph_sha256 != manifest.graph_sha256:
        raise FileFormatError(f"{path}: its figures are of other weights than {name}.onnx; install embedded-vit again")
    return BuiltinModel(name, artifact_path(name), manifest, facts, len(content))


def none_like(name: str) -> str:
    """Say which built-in model's name is nearest: ' (did you mean ...?)', all of them, or that there are none."""
    names = builtin_names()
    return nearest_name(name, names) if names else " (none comes with this version)"
