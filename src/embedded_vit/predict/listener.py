"""Whoever is told how a prediction of one scan or of many goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from embedded_vit.errors import EmbeddedVitError
from embedded_vit.predict.predictor import Progress

__all__ = ["Listener", "Tally"]


@dataclass(frozen=True)
class Tally:
    """How far a prediction of many cases is.

    Attributes:
        cases: In all.
        there: Whose results were there before.
        done: That were segmented by this run.
        failed: That cannot be segmented, or were passed over.
        running: That are being segmented.
        workers: That are ready.
        seconds: Since the first worker was ready.
        last: The place of the case that ended last; None before the first.
    """

    cases: int
    there: int
    done: int
    failed: int
    running: int
    workers: int
    seconds: float
    last: Path | None = None

    @property
    def ended(self) -> int:
        """The number of cases that need no more work."""
        return self.there + self.done + self.failed

    @property
    def cases_per_minute(self) -> float:
        """Cases that ended in this run, by its time; 0 before the first."""
        return 60 * self.done / self.seconds if self.done and self.seconds > 0 else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """How long the rest takes at this rate; None before the first case is done."""
        return 60 * (self.cases - self.ended) / self.cases_per_minute if self.cases_per_minute else None


@dataclass(frozen=True)
class Listener:
    """The functions that are told how a prediction goes on; each may be left out.

    Attributes:
        on_progress: Takes the path of a scan; returns the function to call after each of its slices. Workers in
            processes of their own do not tell slices.
        on_failure: Takes the error of each scan of a folder that cannot be segmented.
        on_remark: Takes a sentence that a person should read: a warning of a scan, which files are its channels, what
            was left out of a folder, how many masks were there already.
        on_tally: Takes the state of a prediction of a folder, after each change.
    """

    on_progress: Callable[[Path], Progress] | None = None
    on_failure: Callable[[EmbeddedVitError], None] = field(default=lambda _: None)
    on_remark: Callable[[str], None] = field(default=lambda _: None)
    on_tally: Callable[[Tally], None] = field(default=lambda _: None)
