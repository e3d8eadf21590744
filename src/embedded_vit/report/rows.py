"""The rows of a report: every run, and every step of a run that was compressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedded_vit.compression.measure import LATENCY_THREADS, measure_artifact
from embedded_vit.compression.record import (
    COMPRESSION_FILE,
    ORIGINAL,
    Measurements,
    StageRecord,
    read_compression_record,
)
from embedded_vit.costs.latency import paired_latency
from embedded_vit.errors import CheckpointError, ConfigError, DataSetError
from embedded_vit.export.exporting import export
from embedded_vit.training.checkpoint import RECORD, load_checkpoint, read_record, read_run_config

__all__ = ["ReportRow", "check_comparable", "data_folder_of", "measured_in_turns", "rows_of_run"]


@dataclass(frozen=True)
class ReportRow:
    """One exported file and its measurements.

    Attributes:
        run: The run folder.
        step: The compression step that made it, with its place in the plan; "" for a run as it was trained.
        artifact: The file.
        measured: Its figures, measured when the file was made.
        latency_ms: Threads -> median of one image, measured for the report in turns with all other rows.
        original_dice: Test Dice of the same run before its first step; None where there was none.
        epochs: Epochs that the network was trained for, in the run and in all steps so far; those of a training at half
            the image size count, those of a run that `--init` began with do not.
        step_epochs: Those of this step alone.
    """

    run: Path
    step: str
    artifact: Path
    measured: Measurements
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    original_dice: float | None = None
    epochs: int = 0
    step_epochs: int = 0

    @property
    def name(self) -> str:
        """The name of the run, and of the step if there is one."""
        return f"{self.run.name} · {self.step}" if self.step else self.run.name

    @property
    def dice(self) -> float | None:
        """Mean Dice of the test cases; None where there are none."""
        return self.measured.test.dice if self.measured.test else None

    @property
    def sparsity(self) -> float:
        """The share of the parameters that are zero."""
        return 1 - self.measured.nonzero_parameters / self.measured.parameters

    @property
    def has_zeros(self) -> bool:
        """Whether so many parameters are zero that they must have been pruned."""
        return self.sparsity >= 0.01


def data_folder_of(run: Path, given: Path | None) -> Path:
    """Return the data set to measure a run on: the given one, else the one of its training.

    Raises:
        DataSetError: The folder does not exist.
    """
    folder = given or Path(read_record(run).data_folder)
    if not folder.is_dir():
        raise DataSetError(f"{run}: its data set {folder} is missing; name its folder with --data")
    return folder


def rows_of_run(run: Path, data_folder: Path | None, work_folder: Path, *, threads: int) -> list[ReportRow]:
    """Read the figures of a compressed run; export and measure any other.

    Args:
        run: A run folder of `train` or `compress`.
        data_folder: Where to measure; by default the data set of its training.
        work_folder: Where the exported file and its evaluation go.
        threads: CPU threads.

    Raises:
        CheckpointError: The folder is not a run folder.
        DataSetError: The data set is not there or does not fit.
    """
    if (run / COMPRESSION_FILE).is_file():
        stages = read_compression_record(run).stages
        trained = [_epochs_of_stage(run, stage) for stage in stages]
        before = stages[0].measured.test.dice if stages and stages[0].measured.test else None
        return [
            ReportRow(
                run=run,
                step=stage.name if stage.name == ORIGINAL else f"{place} {stage.name}",
                artifact=run / stage.artifact,
                measured=stage.measured,
                original_dice=before if place else None,
                epochs=sum(trained[: place + 1]),
                step_epochs=trained[place] if place else 0,
            )
            for place, stage in enumerate(stages)
        ]
    checkpoint = load_checkpoint(run)
    folder, artifact = data_folder_of(run, data_folder), work_folder / "model.onnx"
    export(run, artifact, data_folder=folder)
    measured = measure_artifact(
        artifact, None, checkpoint.network, checkpoint.config, folder, work_folder, subsets=["test"], threads=threads
    )
    return [ReportRow(run, "", artifact, measured, epochs=_epochs_of_run(run))]


def _epochs_of_stage(run: Path, stage: StageRecord) -> int:
    """Return the epochs that a step trained in the attempt that passed, or those of the original run."""
    folder = (run / stage.artifact).parent
    if stage.name == ORIGINAL:
        return _epochs_of_run(folder)
    attempt = folder / f"attempt-{len(stage.attempts)}"
    return sum(len(read_record(record.parent).epochs) for record in attempt.rglob(RECORD))


def _epochs_of_run(folder: Path) -> int:
    return len(read_record(folder).epochs) + read_run_config(folder).training.coarse_epochs


def measured_in_turns(rows: Sequence[ReportRow]) -> list[ReportRow]:
    """Measure the latency of all files in turns, so that the rows of one report can be compared.

    Raises:
        CheckpointError: A file that `compression.json` names is not there.
    """
    for row in rows:
        if not row.artifact.is_file():
            raise CheckpointError(
                f"{row.artifact}: missing, though {COMPRESSION_FILE} names it; compress the run again"
            )
    medians: list[dict[str, float]] = [{} for _ in rows]
    for threads in LATENCY_THREADS:
        latencies = paired_latency([row.artifact for row in rows], threads=threads)
        for of_row, latency in zip(medians, latencies, strict=True):
            of_row[str(threads)] = latency.p50_ms
    return [replace(row, latency_ms=of_row) for row, of_row in zip(rows, medians, strict=True)]


def check_comparable(runs: Sequence[Path]) -> None:
    """Refuse runs that segment different structures.

    Raises:
        ConfigError: The runs segment different structures.
        CheckpointError: A folder is not a run folder.
    """
    first = read_run_config(runs[0]).labels.names
    for run in runs[1:]:
        if read_run_config(run).labels.names != first:
            raise ConfigError(f"{run} segments other structures than {runs[0]}; make a report of each")
