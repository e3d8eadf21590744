"""What the stages of a build share: the data, the plan, the folders, and how far the build is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from embedded_vit.build.listener import BuildListener
from embedded_vit.build.record import BuildRecord, write_build_record
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.planning.build_plan import PLAN_FILE, BuildPlan
from embedded_vit.planning.planning import Plane
from embedded_vit.training.settings import RunConfig

__all__ = ["BuildContext"]


@dataclass
class BuildContext:
    """What the stages of a build share.

    Attributes:
        data_folder: The data set.
        output: The folder of the build.
        record: What was asked for and how far the build is; `keep` writes it.
        device: Where to train.
        threads: CPU threads; None for all cores.
        patient: How the patient of a case is recognised, for a plan that is made now.
        plane: How scans are cut into slices, likewise.
        latency_ms, minutes: The budgets, likewise.
        init: The run folder or model file whose weights are trained further; None for fresh weights.
        listener: Hears of the build.
    """

    data_folder: Path
    output: Path
    record: BuildRecord
    device: str = "cpu"
    threads: int | None = None
    patient: str | None = None
    plane: Plane | None = None
    latency_ms: float | None = None
    minutes: float | None = None
    init: Path | None = None
    listener: BuildListener = field(default_factory=BuildListener)

    @property
    def plan_file(self) -> Path:
        """The plan that the user may change."""
        return self.output / PLAN_FILE

    @property
    def run(self) -> Path:
        """The run folder of the training."""
        return self.output / "run"

    @property
    def start(self) -> Path:
        """The run folder of the weights that `init` names, in the form that a training begins with."""
        return self.output / "start"

    @property
    def small(self) -> Path:
        """The run folder of the compression."""
        return self.output / "small"

    @property
    def slices(self) -> Path:
        """The prepared slices, a folder for each image size."""
        return self.output / "slices"

    @property
    def model(self) -> Path:
        """The model file."""
        return self.output / "model.onnx"

    @property
    def evaluation(self) -> Path:
        """The folder of the scores on held-out patients."""
        return self.output / "evaluation"

    @property
    def report(self) -> Path:
        """The page about the build."""
        return self.output / "report.html"

    @cached_property
    def plan(self) -> BuildPlan:
        """The plan, as the file has it."""
        return BuildPlan.read(self.plan_file)

    @property
    def plan_sha256(self) -> str:
        """The digest of the plan's values; comments, reasons and the order of its keys do not count."""
        unset = {"structures"} if self.plan.structures is None else set()  # which older plans have not
        return hashlib.sha256(self.plan.model_dump_json(exclude={"reasons", *unset}).encode()).hexdigest()

    @cached_property
    def stored(self) -> DataSet:
        """The data set as its folder has it, with the structures that were asked for."""
        return open_data_set(self.data_folder, structures=self.record.structures)

    @cached_property
    def data_set(self) -> DataSet:
        """The data set as the plan takes it."""
        return self.plan.data_set(self.stored)

    @cached_property
    def split(self) -> Split:
        """Which cases train, select the weights, and test."""
        return self.plan.split_of(self.stored)

    @cached_property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        config = self.plan.run_config(self.stored)
        return config if self.init is None else config.with_training(init=str(self.start))

    def keep(self, record: BuildRecord) -> None:
        """Take over a record, and write it."""
        self.record = record
        write_build_record(self.output, record)

    def note(self, sentence: str) -> None:
        """Keep a sentence for the reader of the result, and say it."""
        if sentence not in self.record.notes:
            self.keep(self.record.noted(sentence))
            self.listener.say(sentence)
