"""`compression.json`: the measurements of every step of a compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.engines import EngineChoice
from embedded_vit.evaluation.scores import Scores
from embedded_vit.io.json_file import read_record_file, write_record_file

__all__ = [
    "COMPRESSION_FILE",
    "ORIGINAL",
    "Attempt",
    "CompressionRecord",
    "Measurements",
    "StageRecord",
    "read_compression_record",
    "summary_line",
    "write_compression_record",
]

COMPRESSION_FILE = "compression.json"
ORIGINAL = "original"  # the name of the first stage


class Measurements(Config):
    """Measurements of one exported file."""

    validation: Scores | None = Field(description="None where the split has no such cases, or they were not scored")
    train: Scores | None = Field(
        default=None, description="measured only for a gate where the split has no validation cases"
    )
    test: Scores | None
    macs: int = Field(description="multiply-accumulates of one image, in the form that runs")
    parameters: int
    nonzero_parameters: int
    file_bytes: int
    deflated_bytes: int = Field(description="size of the same file after zip compression")
    latency_ms: dict[str, float] = Field(description="threads -> median latency of one image")
    previous_latency_ms: dict[str, float] | None = Field(
        default=None,
        description="threads -> median latency of the file before the step, measured in turns with this one",
    )
    peak_memory_mib: float = Field(description="peak memory of a process that loads the file and segments one slice")

    def latency_ratio(self, threads: str) -> float | None:
        """Return this median over the median of the file before the step, measured in turns; None for the original."""
        before = (self.previous_latency_ms or {}).get(threads)
        return None if before is None else self.latency_ms[threads] / before


class Attempt(Config):
    """One attempt at a step, with the gate's verdict."""

    protected: tuple[str, ...] = Field(default=(), description="units that the step left unchanged")
    dice: float | None
    passed: bool
    reason: str = Field(default="", description="why it did not pass")


class StageRecord(Config):
    """One step's result, or the original's."""

    name: str = Field(description=f"the step's name, or '{ORIGINAL}'")
    settings: dict[str, Any] = Field(default_factory=dict)
    artifact: str = Field(description="path of the exported file, relative to the run folder")
    measured: Measurements
    gate_subset: Literal["validation", "train"] = Field(description="the cases that the gate looks at")
    attempts: tuple[Attempt, ...] = ()
    seconds: float = Field(ge=0, description="time of the step, measurement included")
    facts: dict[str, Any] = Field(default_factory=dict, description="what the step reports, by name")


class CompressionRecord(Config):
    """The content of `compression.json`."""

    original: str = Field(description="the run that was compressed")
    data_folder: str
    recipe: dict[str, Any]
    engine: EngineChoice = Field(default="onnxruntime", description="engine that latency and memory were measured in")
    stages: tuple[StageRecord, ...] = Field(description="the first is the original")
    gate_failed: str | None = Field(
        default=None, description="why the compression stopped at the gate; None where it did not"
    )
    machine: str
    versions: dict[str, str]


def summary_line(stage: StageRecord) -> str:
    """Summarise a stage in one line for the terminal."""
    measured = stage.measured
    test = "" if measured.test is None or measured.test.dice is None else f", test Dice {measured.test.dice:.3f}"
    note = f"; {stage.facts['note']}" if stage.facts.get("note") else ""
    previous = measured.previous_latency_ms
    change = "" if previous is None else f" ({measured.latency_ms['1'] / previous['1']:.2f} of the step before)"
    return (
        f"{stage.name}: {measured.macs / 1e6:.1f} M MACs, {measured.parameters / 1e6:.2f} M parameters, "
        f"{measured.file_bytes / 1e6:.2f} MB, {measured.latency_ms['1']:.1f} ms{change}{test}{note}"
    )


def read_compression_record(run_folder: Path) -> CompressionRecord:
    """Read a run's `compression.json`.

    Raises:
        CheckpointError: The file is missing, or is not a JSON object.
        ConfigError: A key is unknown, or a value is not valid.
    """
    return read_record_file(run_folder / COMPRESSION_FILE, CompressionRecord, hint="run `embedded-vit compress`")


def write_compression_record(run_folder: Path, record: CompressionRecord) -> None:
    """Write a run's `compression.json` atomically, in place of an older one.

    Raises:
        OutputError: The folder cannot be written or the disk is full.
    """
    write_record_file(run_folder / COMPRESSION_FILE, record)
