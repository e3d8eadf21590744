"""The driver of a prediction of many cases: it gives them to workers, and notes what became of them."""

from __future__ import annotations

import time
from pathlib import Path

from embedded_vit.errors import InputError
from embedded_vit.io.mask_file import sweep_masks
from embedded_vit.predict.bulk.case import Answer, Case
from embedded_vit.predict.bulk.case_queue import CaseQueue
from embedded_vit.predict.bulk.workers import Workers
from embedded_vit.predict.listener import Listener, Tally

__all__ = ["Driver"]

MOST_FALSE_STARTS = 3  # in a row: then the fault is not a case's


class Driver:
    """Gives the cases of a queue to workers until none is left.

    Args:
        queue: The cases.
        workers: Who segments them; the caller closes them.
        listener: Whom to tell how it goes on.
    """

    def __init__(self, queue: CaseQueue, workers: Workers, listener: Listener) -> None:
        self._queue = queue
        self._workers = workers
        self._listener = listener
        self._starting: set[int] = set()
        self._idle: set[int] = set()
        self._case_of: dict[int, Case] = {}
        self._false_starts = 0
        self._swept: set[Path] = set()
        self._began: float | None = None
        self._last: Path | None = None

    def run(self) -> None:
        """Segment all cases.

        Raises:
            EmbeddedVitError: Workers cannot work at all, or the queue cannot be written.
        """
        try:
            self._tell()
            while self._queue.waiting or self._queue.running:
                self._start_workers()
                self._give_cases()
                for answer in self._workers.wait():
                    self._take(answer)
        finally:
            self._queue.commit()
        for folder in self._swept:  # of what workers left that ended
            sweep_masks(folder)

    def _start_workers(self) -> None:
        """Start as many as are wanted and have something to do."""
        there = len(self._starting) + len(self._idle) + len(self._case_of)
        wanted = min(self._workers.wanted(), self._queue.waiting + len(self._queue.running))
        for _ in range(wanted - there):
            self._starting.add(self._workers.start())

    def _give_cases(self) -> None:
        """Give each idle worker a case."""
        given = []
        while self._idle and self._queue.waiting:
            case, worker = self._queue.take(), self._idle.pop()
            self._sweep(case.output.parent)
            self._case_of[worker] = case
            given.append((worker, case))
        self._queue.commit(lazily=True)
        if given:
            self._tell()
        for worker, case in given:
            self._workers.give(worker, case)

    def _sweep(self, folder: Path) -> None:
        """Remove what earlier runs left in a folder, before this one writes there."""
        if folder not in self._swept:
            sweep_masks(folder)
            self._swept.add(folder)

    def _take(self, answer: Answer) -> None:
        """Do what an answer asks for."""
        if answer.kind == "unable":
            assert answer.error is not None
            raise answer.error
        if answer.kind == "ready":
            self._starting.discard(answer.worker)
            self._idle.add(answer.worker)
            self._false_starts, self._began = 0, self._began or time.monotonic()
        elif answer.worker in self._case_of:
            self._end(self._case_of.pop(answer.worker), answer)
        else:
            self._false_start(answer)
        self._tell()

    def _end(self, case: Case, answer: Answer) -> None:
        """Note what became of a case."""
        for remark in answer.remarks:
            self._listener.on_remark(remark)
        self._last = case.scan.place
        if answer.kind == "ended":
            if error := self._queue.crash(case, answer.reason):
                self._listener.on_failure(error)
            return
        self._idle.add(answer.worker)
        if answer.error is not None:
            self._queue.fail(case, answer.error)
            self._listener.on_failure(answer.error)
        else:
            self._queue.finish(case, was_there=answer.kind == "there", seconds=answer.seconds)

    def _false_start(self, answer: Answer) -> None:
        """Note that a worker ended without a case.

        Raises:
            InputError: So did those before it.
        """
        self._idle.discard(answer.worker)
        if answer.worker in self._starting:
            self._starting.remove(answer.worker)
            self._false_starts += 1
        if self._false_starts >= MOST_FALSE_STARTS:
            raise InputError(
                f"{self._false_starts} workers ended before they had loaded the model, the last by {answer.reason}; "
                "try without --workers and --ray, or with fewer workers"
            )

    def _tell(self) -> None:
        queue = self._queue
        self._listener.on_tally(
            Tally(
                cases=queue.cases,
                there=len(queue.there),
                done=len(queue.done),
                failed=len(queue.failed),
                running=len(queue.running),
                workers=len(self._idle) + len(self._case_of),
                seconds=time.monotonic() - self._began if self._began else 0.0,
                last=self._last,
            )
        )
