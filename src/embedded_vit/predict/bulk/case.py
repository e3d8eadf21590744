"""A case of a prediction of many, and what a worker answers when it has it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedded_vit.errors import EmbeddedVitError
from embedded_vit.io.channels import FoundScan

__all__ = ["Answer", "Case"]


@dataclass(frozen=True)
class Case:
    """A scan, and where its results go.

    Attributes:
        number: Its place among all cases.
        scan: Its files.
        output: The first of its results, below the folder of the run.
    """

    number: int
    scan: FoundScan
    output: Path


@dataclass(frozen=True)
class Answer:
    """What a worker says.

    Attributes:
        worker: Its number.
        kind: "ready", it takes a case; "done", it wrote the results of its case; "there", they were there already;
            "failed", there can be none, `error` says why; "unable", it cannot work at all, `error` says why; "ended",
            its process is no more, `reason` says how it ended.
        seconds: It took for the case.
        remarks: Sentences that a person should read.
        error: As above.
        reason: As above.
    """

    worker: int
    kind: Literal["ready", "done", "there", "failed", "unable", "ended"]
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()
    error: EmbeddedVitError | None = None
    reason: str = ""
