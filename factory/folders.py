"""The folders with the trainings, files and tests of a built-in model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from factory import table
from factory.table import Model, Training

__all__ = ["ModelFolders"]


@dataclass(frozen=True)
class ModelFolders:
    """The folders of one built-in model.

        OUTPUT/TRAINING/EXPERIMENT/run/                the training, which models that differ in compression share
        OUTPUT/TRAINING/EXPERIMENT/start/              the pruned network that it starts from, if any
        OUTPUT/TRAINING/EXPERIMENT/MODEL/model.onnx    the exported file
        OUTPUT/TRAINING/EXPERIMENT/MODEL/compression/  the compression that made it, if any
        OUTPUT/TRAINING/EXPERIMENT/MODEL/evaluation/   the test of that file on the experiment's test patients

    Attributes:
        name: The model's name in the table.
        output: The folder that holds all of them.
        records: Where tests are kept that outlive these folders; see `factory.records`.
    """

    name: str
    output: Path
    records: Path | None = None

    @property
    def model(self) -> Model:
        """The model's entry in the table."""
        return table.MODELS[self.name]

    @property
    def training(self) -> Training:
        """The entry of the training whose weights are shipped."""
        return table.TRAININGS[self.model.training]

    def run(self, experiment: str, training: str | None = None) -> Path:
        """Return the run folder of a training, by default of the model's own."""
        return self.output / (training or self.model.training) / experiment / "run"

    def start(self, experiment: str, training: str) -> Path:
        """Return the run folder of the pruned network that a training starts from."""
        return self.run(experiment, training).with_name("start")

    def artifact(self, experiment: str) -> Path:
        """Return the exported file of an experiment."""
        return self.run(experiment).with_name(self.name) / "model.onnx"

    def compression(self, experiment: str) -> Path:
        """Return the folder of an experiment's compression."""
        return self.artifact(experiment).with_name("compression")

    def evaluation(self, experiment: str) -> Path:
        """Return the folder with an experiment's `metrics.json`."""
        return self.artifact(experiment).with_name("evaluation")

    def record(self, experiment: str) -> Path | None:
        """Return the file that keeps an experiment's test; None where none is kept."""
        return self.records and self.records / self.model.training / experiment / f"{self.name}.json"
