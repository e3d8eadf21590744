"""`build.json`: what a build was asked for, and how far it is. It holds paths; keep it where the build ran."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.io.json_file import read_record_file, write_record_file

__all__ = ["RECORD_FILE", "STAGES", "BuildRecord", "StageName", "read_build_record", "write_build_record"]

RECORD_FILE = "build.json"
StageName = Literal["plan", "prepare", "train", "compress", "export", "score"]
STAGES: tuple[StageName, ...] = ("plan", "prepare", "train", "compress", "export", "score")


class BuildRecord(Config):
    """What a build was asked for, and how far it is."""

    data_folder: str
    structures: tuple[str, ...] | None = Field(default=None, description="those that were asked for; None: all")
    init: str | None = Field(default=None, description="the run or model file whose weights are trained further")
    plan_sha256: str = Field(default="", description="of the plan when the training began; it must not change then")
    expected: dict[StageName, float] = Field(
        default_factory=dict, description="seconds that the stages after the training are expected to take"
    )
    training_seconds: float | None = Field(default=None, description="what the training may take; None: not known yet")
    seconds: dict[StageName, float] = Field(default_factory=dict, description="wall time of each stage that is done")
    notes: tuple[str, ...] = Field(default=(), description="what a reader of the result should know, a sentence each")

    @property
    def elapsed(self) -> float:
        """Wall time of all stages that are done, in seconds."""
        return sum(self.seconds.values())

    def done(self, stage: StageName, seconds: float) -> BuildRecord:
        """Return the record with one more stage done."""
        return self.model_copy(update={"seconds": {**self.seconds, stage: seconds}})

    def noted(self, sentence: str) -> BuildRecord:
        """Return the record with one more note."""
        return self.model_copy(update={"notes": (*self.notes, sentence)})


def read_build_record(folder: Path) -> BuildRecord | None:
    """Read the record of a build; None where none was begun.

    Raises:
        CheckpointError: The file is damaged.
        ConfigError: A key is unknown, or a value is not valid.
    """
    path = folder / RECORD_FILE
    if not path.exists():
        return None
    return read_record_file(path, BuildRecord, hint="remove the folder to build anew")


def write_build_record(folder: Path, record: BuildRecord) -> None:
    """Write the record of a build atomically, in place of an older one.

    Raises:
        OutputError: The folder cannot be written or the disk is full.
    """
    write_record_file(folder / RECORD_FILE, record)
