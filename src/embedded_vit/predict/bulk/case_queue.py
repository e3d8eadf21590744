"""The queue of a prediction of many cases, in an SQLite file that outlives any process.

    waiting -> running -> done | failed | passed over

The driver alone writes it. A case whose worker ended waits again, behind all others; at the third time it is passed
over. A case that was running when the driver ended waits again, behind those that nobody has tried. A case that failed
is tried again by the next run, as its files may have been mended; one that was passed over is tried when its files have
changed.
"""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from embedded_vit.about import __version__
from embedded_vit.errors import EmbeddedVitError, InputError, OutputError
from embedded_vit.predict.bulk.case import Case

__all__ = ["MANIFEST", "CaseQueue"]

MANIFEST = "predictions.sqlite"  # in the folder of the results
MOST_CRASHES = 3  # once, and retried twice
SECONDS_BETWEEN_COMMITS = 1.0
FORMAT = 1
TABLES = """
CREATE TABLE run (model_sha256 TEXT NOT NULL, embedded_vit TEXT NOT NULL);
CREATE TABLE cases (
    output PRIMARY KEY, place NOT NULL, state TEXT NOT NULL, crashes INTEGER NOT NULL, interrupted INTEGER NOT NULL,
    files TEXT NOT NULL, seconds REAL, message TEXT
);
"""
INSERT = "INSERT OR REPLACE INTO cases VALUES (?, ?, ?, ?, ?, ?, NULL, ?)"
Row = tuple[str, int, int, str]  # state, crashes, interrupted, files


class CaseQueue:
    """All cases of a run, what became of them, and which is next.

    Args:
        folder: Of the results.
        path: The file; None keeps all in memory.
        model_sha256: Of the model.

    Raises:
        OutputError: The file is of another model or version, is damaged, or cannot be written.
    """

    def __init__(self, folder: Path, path: Path | None, model_sha256: str) -> None:
        self._folder = folder
        self._path = path
        self._cases: dict[int, Case] = {}
        self._waiting: list[tuple[int, int]] = []  # how often it was tried, and its number
        self._crashes: dict[int, int] = {}
        self._committed = float("-inf")
        self.running: set[int] = set()
        self.there: set[int] = set()
        self.done: set[int] = set()
        self.failed: set[int] = set()
        with self._our_errors():
            self._file = sqlite3.connect(path or ":memory:", isolation_level=None)
            self._open((model_sha256, __version__))

    def add(self, cases: Sequence[Case], is_whole: Callable[[Case], bool]) -> list[EmbeddedVitError]:
        """Add all cases of the run; see the module on what becomes of those that are known.

        Args:
            cases: In order.
            is_whole: Whether all results of a case are there; asked of those that are known as done.

        Returns:
            Why some cannot be done.
        """
        errors: list[EmbeddedVitError] = []
        of_output: dict[Path, Case] = {}
        with self._our_errors():
            rows = self._file.execute("SELECT output, state, crashes, interrupted, files FROM cases")
            known: dict[Any, Row] = {output: tuple(row) for output, *row in rows}
            for case in cases:
                self._cases[case.number] = case
                if case.output in of_output:
                    self.failed.add(case.number)
                    other = of_output[case.output].scan.place.name
                    errors.append(OutputError(f"{case.output}: exists already, as the mask of {other}; rename "
                                              f"{case.scan.place.name}"))  # fmt: skip
                    continue
                of_output[case.output] = case
                if error := self._add(case, known.get(self._key(case.output)), is_whole):
                    errors.append(error)
            self.commit()
        return errors

    def _add(self, case: Case, row: Row | None, is_whole: Callable[[Case], bool]) -> EmbeddedVitError | None:
        state, crashes, interrupted, files = row or ("waiting", 0, 0, "")
        if state == "done" and is_whole(case):
            self.there.add(case.number)
            return None
        if state == "passed over" and files == _stamp(case):
            self.failed.add(case.number)
            return self._passed_over(case)
        if state == "running":
            interrupted += 1
        elif state != "waiting":
            crashes = interrupted = 0
        self._crashes[case.number] = crashes
        heapq.heappush(self._waiting, (crashes + interrupted, case.number))
        self._write(INSERT, (*self._names(case), "waiting", crashes, interrupted, "", None))
        return None

    @property
    def cases(self) -> int:
        """How many there are."""
        return len(self._cases)

    @property
    def waiting(self) -> int:
        """How many nobody works on."""
        return len(self._waiting)

    def take(self) -> Case:
        """Return the next case, which is running from now on."""
        _, number = heapq.heappop(self._waiting)
        case = self._cases[number]
        self.running.add(number)
        self._set(case, "running")
        return case

    def finish(self, case: Case, *, was_there: bool, seconds: float) -> None:
        """Note that the results of a running case are there."""
        self.running.remove(case.number)
        (self.there if was_there else self.done).add(case.number)
        self._set(case, "done", seconds=None if was_there else seconds)

    def fail(self, case: Case, error: EmbeddedVitError) -> None:
        """Note that a running case cannot be done."""
        self.running.remove(case.number)
        self.failed.add(case.number)
        self._set(case, "failed", message=str(error))

    def crash(self, case: Case, reason: str) -> EmbeddedVitError | None:
        """Note that the worker of a running case ended; let the case wait again, or pass it over.

        Returns:
            Why it is passed over; None if it waits.
        """
        self.running.remove(case.number)
        self._crashes[case.number] += 1
        crashes = self._crashes[case.number]
        if crashes < MOST_CRASHES:
            heapq.heappush(self._waiting, (crashes, case.number))
            self._set(case, "waiting", message=reason)
            return None
        self.failed.add(case.number)
        self._set(case, "passed over", message=reason, files=_stamp(case))
        return self._passed_over(case, reason)

    def commit(self, *, lazily: bool = False) -> None:
        """Write to the disk what became of cases.

        Args:
            lazily: Only if the last time was a second ago. Waiting for the disk at every case would hold up many
                workers; what is lost with the driver is found again, as a mask that is there is complete.
        """
        if lazily and time.monotonic() - self._committed < SECONDS_BETWEEN_COMMITS:
            return
        self._committed = time.monotonic()
        with self._our_errors():
            if self._file.in_transaction:
                self._file.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        with self._our_errors():
            self.commit()
            self._file.close()

    def _open(self, run: tuple[str, str]) -> None:
        """Make the tables, or check that they are of the same run."""
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version == 0 and not self._file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._file.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
            self._file.execute("INSERT INTO run VALUES (?, ?)", run)
            return
        if version != FORMAT:
            raise OutputError(f"{self._path}: not a list of predictions of this version; choose another folder")
        found = self._file.execute("SELECT model_sha256, embedded_vit FROM run").fetchone() or run
        if tuple(found) != run:
            raise OutputError(
                f"{self._path}: is of a run of model {found[0]!s:.12} and version {found[1]!s:.20}, now they are "
                f"{run[0]:.12} and {run[1]}; choose another folder"
            )

    def _set(self, case: Case, state: str, *, seconds: float | None = None, message: str = "", files: str = "") -> None:
        with self._our_errors():
            self._write(
                "UPDATE cases SET state = ?, crashes = ?, seconds = ?, message = ?, files = ? WHERE output = ?",
                (state, self._crashes[case.number], seconds, message, files, self._key(case.output)),
            )

    def _write(self, statement: str, values: Sequence[object]) -> None:
        if not self._file.in_transaction:
            self._file.execute("BEGIN IMMEDIATE")
        self._file.execute(statement, values)

    def _names(self, case: Case) -> tuple[str | bytes, str | bytes]:
        return self._key(case.output), _storable(str(case.scan.place))

    def _key(self, output: Path) -> str | bytes:
        return _storable(output.relative_to(self._folder).as_posix())

    def _passed_over(self, case: Case, reason: str = "") -> InputError:
        why = f", the last time by {reason}" if reason else " in an earlier run"
        return InputError(
            f"{case.scan.place}: passed over, as its worker ended {MOST_CRASHES} times{why}; mend or remove it, or "
            f"remove {self._path or 'it'} to try it again"
        )

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into one line."""
        try:
            yield
        except sqlite3.OperationalError as error:  # the disk is full, or may not be written
            raise OutputError(f"{self._path}: cannot write: {error}") from error
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise OutputError(f"{self._path}: damaged ({error}); remove it: existing results are kept") from error


def _storable(text: str) -> str | bytes:
    """Return a name as SQLite takes it: text, or bytes where it is not Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogateescape")
    return text


def _stamp(case: Case) -> str:
    """Return what changes when somebody mends the files of a case."""
    stamps = []
    for path in case.scan.files:
        with suppress(OSError):
            status = path.stat()
            stamps.append(f"{status.st_size} {status.st_mtime_ns}")
    return ", ".join(stamps)
