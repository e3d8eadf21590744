"""The queue of studies, in SQLite: what was received and what has become of it.

    receiving -> waiting -> segmenting -> sending -> sent
                                      \\-> refused, failed

A row is written, with its commit on the disk, before the first image of a study is answered with Success. No row says
who the patient is: a study is known by a digest of its UID.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from embedded_vit.errors import OutputError

__all__ = ["LIVE", "State", "StudyQueue", "StudyRow", "read_rows"]

State = Literal["receiving", "waiting", "segmenting", "sending", "sent", "refused", "failed"]
LIVE: tuple[State, ...] = ("receiving", "waiting", "segmenting", "sending")  # they have files
FINISHED_ROWS = 1000  # that are kept for `node status`
BUSY_SECONDS = 30  # to wait for another process that reads

TABLE = f"""
CREATE TABLE IF NOT EXISTS studies (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    study TEXT NOT NULL,
    sender TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN {get_args(State)}),
    model TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    released INTEGER NOT NULL DEFAULT 0,
    images INTEGER NOT NULL DEFAULT 0,
    results INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL DEFAULT 0,
    begun REAL NOT NULL,
    changed REAL NOT NULL,
    note TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state, number);
"""
COLUMNS = ("number", "study", "sender", "state", "model", "model_sha256", "released", "images", "results", "attempts",
           "next_try", "begun", "changed", "note")  # fmt: skip


@dataclass(frozen=True)
class StudyRow:
    """One study of the queue.

    Attributes:
        number: Counts the studies of this node; never used twice.
        study: The first half of the SHA-256 of its StudyInstanceUID, in hexadecimal digits.
        sender: The AE title that began to send it.
        state: How far it has come.
        model, model_sha256: With what it began, and ends.
        released: Whether the last association that sent images of it ended as the standard prescribes.
        images, results: The numbers of files.
        attempts: How often the present step has failed.
        next_try: When it is tried again, in seconds since 1970.
        begun, changed: When it began, and when its state changed, in seconds since 1970.
        note: Why it was refused, or what failed last; never text of a patient.
    """

    number: int
    study: str
    sender: str
    state: State
    model: str
    model_sha256: str
    released: int
    images: int
    results: int
    attempts: int
    next_try: float
    begun: float
    changed: float
    note: str


class StudyQueue:
    """The table of studies. Any thread may call; every change is on the disk when the call returns."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open it, or make it.

        Args:
            path: Its file.
            clock: Returns the seconds since 1970.

        Raises:
            OutputError: It cannot be written, or is something else.
        """
        self._lock, self._clock = threading.Lock(), clock
        options: dict[str, Any] = {"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
        try:
            self._connection = sqlite3.connect(path, **options)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(TABLE)
        except sqlite3.Error as error:
            raise OutputError(
                f"{path}: the queue cannot be written: {error}; make room on the disk, or give another --store"
            ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def begin(self, study: str, sender: str, model: str, model_sha256: str) -> int:
        """Return the number of a study that is being received; the first image of it begins a row."""
        with self._lock:
            found = self._connection.execute(
                "SELECT number, released FROM studies WHERE study = ? AND state = 'receiving'", (study,)
            ).fetchone()
            if found is None:
                now = self._clock()
                values = (study, sender, "receiving", model, model_sha256, now, now)
                names = "study, sender, state, model, model_sha256, begun, changed"
                inserted = self._connection.execute(f"INSERT INTO studies ({names}) VALUES (?,?,?,?,?,?,?)", values)
                return int(inserted.lastrowid or 0)
            if found[1]:
                self._connection.execute("UPDATE studies SET released = 0 WHERE number = ?", (found[0],))
            return int(found[0])

    def change(self, number: int, state: State | None = None, **values: Any) -> None:
        """Change the state of a study, other columns, or both."""
        if state is not None:
            values |= {"state": state, "changed": self._clock()}
        names = ", ".join(f"{name} = ?" for name in values)
        with self._lock:
            self._connection.execute(f"UPDATE studies SET {names} WHERE number = ?", (*values.values(), number))

    def remove(self, number: int) -> None:
        """Forget a study of which nothing was received."""
        with self._lock:
            self._connection.execute("DELETE FROM studies WHERE number = ?", (number,))

    def rows(self, *states: State) -> list[StudyRow]:
        """Return the studies in some states, the oldest first."""
        with self._lock:
            return _select(self._connection, states)

    def again_in(self, number: int, pause_seconds: float, **values: Any) -> None:
        """Have a step of a study tried again later."""
        self.change(number, next_try=self._clock() + pause_seconds, **values)

    def due(self, state: State) -> StudyRow | None:
        """Return the oldest study in a state whose time has come."""
        now = self._clock()
        return next((row for row in self.rows(state) if row.next_try <= now), None)

    def forget_old(self) -> None:
        """Remove the rows of all but the latest finished studies."""
        with self._lock:
            self._connection.execute(
                f"DELETE FROM studies WHERE state NOT IN {LIVE} AND number NOT IN (SELECT number FROM studies "
                f"WHERE state NOT IN {LIVE} ORDER BY number DESC LIMIT {FINISHED_ROWS})"
            )


def read_rows(path: Path) -> list[StudyRow]:
    """Read the queue of a node that may be running, oldest first.

    Raises:
        sqlite3.Error: The file cannot be read or is something else.
    """
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    try:
        return _select(connection, get_args(State))
    finally:
        connection.close()


def _select(connection: sqlite3.Connection, states: Sequence[State]) -> list[StudyRow]:
    marks = ", ".join("?" * len(states))
    query = f"SELECT {', '.join(COLUMNS)} FROM studies WHERE state IN ({marks}) ORDER BY number"
    return [StudyRow(*values) for values in connection.execute(query, states)]
