"""A build plan: everything that is decided before a network is trained, and why; kept as `build-plan.yaml`.

    preprocessing, network, training     as a run's `config.json` has them
    mirror                               whether left and right may be exchanged in training
    split                                seed, patients, and how patients are recognised
    compression, latency_ms, minutes     what becomes of the trained network, and the budgets
    reasons                              decision -> one sentence

Every value may be changed by hand. No path is in it, so that a plan can be given away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import Field, model_validator
from typing_extensions import Self

from embedded_vit.config import Config
from embedded_vit.datasets.data_set import DataSet, Split, make_split
from embedded_vit.datasets.patients import check_pattern, with_patients
from embedded_vit.errors import ConfigError, NetworkError
from embedded_vit.io.plain_yaml import read_yaml, write_yaml
from embedded_vit.models.registry import NetworkConfig
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.partial_labels import partial_sets
from embedded_vit.training.settings import RunConfig, TrainingConfig

__all__ = ["PLAN_FILE", "BuildPlan", "SplitPlan", "read_budget"]

PLAN_FILE = "build-plan.yaml"


class SplitPlan(Config):
    """How the patients are divided into those that train, select the weights, and test."""

    seed: int = Field(default=0, ge=0)
    patient: str | None = Field(
        default=None, description="pattern of a case's name; what it matches is the patient. None: as the data set says"
    )
    validation_cases: int | None = Field(default=None, ge=0, description="patients; None: a tenth, at least one")

    @model_validator(mode="after")
    def _pattern_is_one(self) -> Self:
        try:
            check_pattern(self.patient)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class BuildPlan(Config):
    """Everything that is decided before a network is trained, and why."""

    preprocessing: Preprocessing
    network: NetworkConfig
    training: TrainingConfig
    mirror: bool = Field(default=False, description="whether left and right may be exchanged in training")
    split: SplitPlan = SplitPlan()
    structures: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="those to learn, in this order; None: all of the data set"
    )
    compression: str | None = Field(default=None, description="a compression plan of the package, or None")
    latency_ms: float | None = Field(default=None, gt=0, description="most milliseconds per slice, on this computer")
    minutes: float = Field(default=60.0, gt=0, description="for everything, on this computer")
    reasons: Mapping[str, str] = Field(default_factory=dict, description="decision -> one sentence")

    def data_set(self, data_set: DataSet) -> DataSet:
        """Return the data set as this plan takes it: structures, patients, and whether its labels may be mirrored.

        Raises:
            DataSetError: The pattern of a patient does not match the name of a case, or a structure is not there.
        """
        if self.structures is not None and self.structures != data_set.labels.names:
            data_set = data_set.with_structures(self.structures)
        labels = data_set.labels.model_copy(update={"mirror": self.mirror})
        return replace(with_patients(data_set, self.split.patient), labels=labels)

    def split_of(self, data_set: DataSet) -> Split:
        """Return which cases train, select the weights, and test; raises as `data_set` and `make_split`."""
        return make_split(self.data_set(data_set), seed=self.split.seed, validation_cases=self.split.validation_cases)

    def run_config(self, data_set: DataSet) -> RunConfig:
        """Return the configuration of the run that trains on a data set.

        Raises:
            ConfigError: The plan was made for other channels or another number of structures.
        """
        data_set = self.data_set(data_set)
        planned, found = self.preprocessing.channels, data_set.channels
        if planned != found:
            raise ConfigError(
                f"{data_set.folder}: its channels are {', '.join(found)}; the plan was made for {', '.join(planned)}; "
                "plan anew"
            )
        if self.network.classes != data_set.labels.classes:
            raise ConfigError(
                f"{data_set.folder}: {data_set.labels.classes - 1} structures; the plan was made for "
                f"{self.network.classes - 1}; plan anew"
            )
        return RunConfig(
            network=self.network,
            preprocessing=self.preprocessing,
            labels=data_set.labels,
            partial_labels=partial_sets(data_set),
            training=self.training,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan from a YAML file.

        Raises:
            ConfigError: The file cannot be read, a key is unknown, or a value is out of range; one line.
        """
        try:
            return cls.parse(read_yaml(path), source=str(path))
        except NetworkError as error:
            raise ConfigError(f"{path}: network: {error}") from error

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the plan as a YAML file, whole or not at all.

        Raises:
            OutputError: The file exists, or cannot be written.
        """
        write_yaml(path, self.model_dump(mode="json"), comment=COMMENT, overwrite=overwrite)


COMMENT = (
    "What `embedded-vit build` will do. Change what you like; `reasons` says why each value was taken, and is not read."
)


def read_budget(text: str) -> float:
    """Read a budget as the command line takes it, `latency_ms=5`: return the milliseconds.

    Raises:
        ConfigError: It is another budget, or not a number above 0.
    """
    name, _, limit = text.partition("=")
    if name.strip() != "latency_ms":
        raise ConfigError(f"--budget {text:.40}: latency_ms=NUMBER is expected, for example latency_ms=5")
    try:
        milliseconds = float(limit)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < float("inf"):
        raise ConfigError(f"--budget {text:.40}: expected a number of milliseconds above 0, as in latency_ms=5")
    return milliseconds
