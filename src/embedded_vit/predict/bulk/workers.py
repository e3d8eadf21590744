"""The workers of a prediction of many cases: one interface for this process, processes here, and many machines."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from embedded_vit.errors import EmbeddedVitError
from embedded_vit.predict.bulk.case import Answer, Case
from embedded_vit.predict.one_scan import ScanWriter

__all__ = ["InThisProcess", "Workers", "work"]


class Workers(ABC):
    """Workers that each hold the model and take one case at a time."""

    @abstractmethod
    def wanted(self) -> int:
        """Return how many workers there should be now."""

    @abstractmethod
    def start(self) -> int:
        """Start a worker; return its number. It answers "ready", "unable" or "ended"."""

    @abstractmethod
    def give(self, worker: int, case: Case) -> None:
        """Give a case to a worker that is ready; it answers "done", "there", "failed" or "ended"."""

    @abstractmethod
    def wait(self) -> Sequence[Answer]:
        """Wait for answers; after a while return none, so that the caller can look around."""

    @abstractmethod
    def close(self) -> None:
        """End all workers at once; what they had not finished is lost."""


class InThisProcess(Workers):
    """The one worker that is the process itself; its listener hears everything at once."""

    def __init__(self, writer: ScanWriter) -> None:
        self._writer = writer
        self._answers: list[Answer] = []

    def wanted(self) -> int:
        """One."""
        return 1

    def start(self) -> int:
        """The model is loaded."""
        self._answers.append(Answer(0, "ready"))
        return 0

    def give(self, worker: int, case: Case) -> None:
        """Segment the case now."""
        self._answers.append(work(self._writer, worker, case))

    def wait(self) -> Sequence[Answer]:
        """Return the answer that is there."""
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        """There is nothing to end."""


def work(writer: ScanWriter, worker: int, case: Case) -> Answer:
    """Segment a case, unless its results are there."""
    began = time.monotonic()
    try:
        there = writer.is_there(case.output)
        if not there:
            writer.predict(case.scan, case.output)
    except EmbeddedVitError as error:
        return Answer(worker, "failed", time.monotonic() - began, error=error)
    return Answer(worker, "there" if there else "done", time.monotonic() - began)
