"""Workers in processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from embedded_vit.errors import EmbeddedVitError
from embedded_vit.predict.bulk.case import Answer, Case
from embedded_vit.predict.bulk.worker import Worker, WorkerSetup, prepare_process
from embedded_vit.predict.bulk.workers import Workers

__all__ = ["LocalProcesses"]

SECONDS_BETWEEN_LOOKS = 1.0


class LocalProcesses(Workers):
    """Processes that this one starts, and that end with it.

    Args:
        setup: What every worker is made of.
        workers: How many there are.
    """

    def __init__(self, setup: WorkerSetup, workers: int) -> None:
        self._setup = setup
        self._wanted = workers
        self._started = 0
        self._running: dict[Connection, tuple[int, BaseProcess]] = {}
        self._of_worker: dict[int, Connection] = {}

    def wanted(self) -> int:
        """Return the number that was asked for."""
        return self._wanted

    def start(self) -> int:
        """Start a fresh Python, which shares nothing with this one."""
        context = multiprocessing.get_context("spawn")
        ours, its = context.Pipe()
        number, self._started = self._started, self._started + 1
        process = context.Process(
            target=_run, args=(its, number, self._setup.memory_bytes is not None), daemon=True, name=f"worker {number}"
        )
        process.start()
        its.close()  # so that ours ends when the process does
        self._running[ours] = (number, process)
        self._of_worker[number] = ours
        with suppress(OSError):  # it is gone: `wait` says so
            ours.send(self._setup)
        return number

    def give(self, worker: int, case: Case) -> None:
        """Send the case to its process."""
        with suppress(OSError):
            self._of_worker[worker].send(case)

    def wait(self) -> Sequence[Answer]:
        """Return what processes sent, and which of them ended."""
        answers = []
        for connection in wait(list(self._running), timeout=SECONDS_BETWEEN_LOOKS):
            assert isinstance(connection, Connection)
            try:
                answers.append(connection.recv())
            except (EOFError, OSError):
                answers.append(self._ended(connection))
        return answers

    def close(self) -> None:
        """Kill all processes."""
        for connection, (_, process) in self._running.items():
            process.kill()
            process.join()
            connection.close()
        self._running.clear()

    def _ended(self, connection: Connection) -> Answer:
        number, process = self._running.pop(connection)
        connection.close()
        process.join()
        status = process.exitcode or 0
        reason = f"exit status {status}"
        if status < 0:
            with suppress(ValueError):  # a signal that Python has no name for
                reason = signal.Signals(-status).name
        return Answer(number, "ended", reason=reason)


def _run(connection: Connection, number: int, limits_memory: bool) -> None:
    """Answer one case after another, until the driver is gone."""
    prepare_process(limits_memory=limits_memory)
    setup: WorkerSetup = connection.recv()
    try:
        worker = Worker(number, setup)
    except EmbeddedVitError as error:
        connection.send(Answer(number, "unable", error=error))
        return
    connection.send(Answer(number, "ready"))
    with suppress(EOFError, OSError):
        while True:
            connection.send(worker.answer(connection.recv()))
