"""A worker in a process of its own: it loads the model once, then segments case after case.

This module imports NumPy only after the process is prepared for it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedded_vit.about import __version__
from embedded_vit.errors import OutputError

if TYPE_CHECKING:
    from embedded_vit.engines import EngineChoice
    from embedded_vit.predict.bulk.case import Answer, Case
    from embedded_vit.predict.predictor import Predictor
    from embedded_vit.predict.results import Results

__all__ = ["Worker", "WorkerSetup", "prepare_process"]

PR_SET_PDEATHSIG = 1  # Linux's sys/prctl.h


@dataclass(frozen=True)
class WorkerSetup:
    """What every worker is made of.

    Attributes:
        model: The path of the model file, or its content where the worker runs on another machine.
        model_sha256: SHA-256 of the model file.
        engine: As `Predictor.load`.
        threads: Cores of each worker.
        force, memory_bytes, series: As `Predictor.predict`; the memory is that of one worker.
        results: What is written of each scan.
        neighbours: How many workers share a machine.
        version: Of this package, where the run was started.
    """

    model: Path | bytes
    model_sha256: str
    engine: EngineChoice
    threads: int
    force: bool
    memory_bytes: int | None
    series: int | None
    results: Results
    neighbours: int
    version: str = __version__


class Worker:
    """A worker with its model loaded.

    Args:
        number: Its number.
        setup: What it is made of.

    Raises:
        EmbeddedVitError: The model cannot be loaded here, or it or this package is another one than where the run was
            started.
    """

    def __init__(self, number: int, setup: WorkerSetup) -> None:
        if setup.version != __version__:
            raise OutputError(
                f"a worker runs version {__version__} of this package, the run was started by version {setup.version}; "
                "install the same version on all machines"
            )
        from embedded_vit.predict.listener import Listener
        from embedded_vit.predict.one_scan import ScanWriter

        predictor = _load(setup)
        if predictor.model_sha256 != setup.model_sha256:
            raise OutputError("the model file was changed while the run was starting; start it again")
        self._number = number
        self._remarks: list[str] = []
        self._writer = ScanWriter(
            predictor,
            setup.force,
            _memory(setup),
            setup.series,
            Listener(on_remark=self._remarks.append),
            setup.results,
        )

    def answer(self, case: Case) -> Answer:
        """Segment a case."""
        from embedded_vit.predict.bulk.workers import work

        self._remarks.clear()
        answer = work(self._writer, self._number, case)
        return replace(answer, remarks=tuple(self._remarks))


def prepare_process(*, limits_memory: bool) -> None:
    """Prepare a process that will segment, before NumPy is imported.

    It does not end at Ctrl-C, as the driver ends it, and on Linux the system kills it when the driver is gone.

    Args:
        limits_memory: Whether its memory is limited.
    """
    from embedded_vit.predict.memory import limit_matrix_threads, spare_address_space

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        parent = os.getppid()
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before
            os._exit(1)
    if limits_memory:
        spare_address_space()
    limit_matrix_threads(1)


def _load(setup: WorkerSetup) -> Predictor:
    """Load a model from its file, or from its content by way of a temporary file."""
    from embedded_vit.predict.predictor import Predictor

    if isinstance(setup.model, Path):
        return Predictor.load(setup.model, setup.engine, threads=setup.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(setup.model)
        return Predictor.load(path, setup.engine, threads=setup.threads)


def _memory(setup: WorkerSetup) -> int | None:
    """Return the memory of this worker: as given, else its share of half of what is free."""
    from embedded_vit.predict.memory import free_bytes, resident_bytes

    free = free_bytes()
    if setup.memory_bytes is not None or setup.neighbours == 1 or free == float("inf"):
        return setup.memory_bytes
    return resident_bytes() + int(free / 2 / setup.neighbours)
