"""The audit log of a node: one JSON object a line, on what happened, when, and with which model. Never on whom."""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

__all__ = ["AuditLog", "kind_and_place"]

MOST_BYTES = 4 * 2**20  # then it is renamed to audit.log.1, and that one is gone


class AuditLog:
    """Appends lines to a file; any thread may call."""

    def __init__(self, path: Path, on_line: Callable[[str], None] | None = None) -> None:
        self._path, self._on_line, self._lock = path, on_line, threading.Lock()

    def write(self, event: str, **facts: object) -> None:
        """Write a line; where the disk does not take it, the node goes on, and `on_line` has it alone.

        Args:
            event: What happened.
            facts: What is known of it: numbers of studies, AE titles, addresses, digests; no text of a DICOM object.
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            with self._lock:
                if self._path.exists() and self._path.stat().st_size > MOST_BYTES:
                    self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                with open(self._path, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"time": now, "event": event, **facts}) + "\n")
        except OSError as error:
            facts = facts | {"not_in_the_log": error.strerror or type(error).__name__}
        if self._on_line is not None:
            self._on_line(" ".join([event, *(f"{name}={value}" for name, value in facts.items())]))


def kind_and_place(error: BaseException) -> str:
    """Return what an exception is and where it was raised, without its message, which may quote a header."""
    frames = traceback.extract_tb(error.__traceback__)
    kind = type(error).__name__
    return f"{kind} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else kind
