"""The node's side of the process that segments: one study after another."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedded_vit.fresh_python import end_python, start_python
from embedded_vit.node.settings import NodeSettings

__all__ = ["Segmenter"]

STUDIES_A_PROCESS = 50  # then a new one takes over, with memory that nothing has grown


class Segmenter:
    """Keeps a process that segments, and starts another one when it has died, was killed, or is old."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._done, self._began = 0, 0.0
        self._is_stopped = False

    @property
    def process_id(self) -> int | None:
        """The number of the process; None while there is none."""
        return None if self._process is None else self._process.pid

    def segment(self, images: Path, results: Path, model: Path) -> dict[str, Any]:
        """Segment a study.

        Args:
            images: The folder of its series.
            results: The folder that is to be made.
            model: The model file.

        Returns:
            "results", the number of files, and "refused", why series were refused; or "error".
        """
        asked = {"images": str(images), "results": str(results), "model": str(model), "kinds": self._settings.results}
        return self._ask(asked)

    def warm_up(self, model: Path) -> None:
        """Start the process and load the model before there is a study."""
        self._ask({"images": None, "results": None, "model": str(model), "kinds": self._settings.results})

    def _ask(self, asked: Mapping[str, str | None]) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        self._began = time.monotonic()
        try:
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        self._began, self._done = 0.0, self._done + 1
        if not line:
            self._end(process)
            return {"error": f"the process that segments ended with status {process.returncode}"}
        if self._done >= STUDIES_A_PROCESS:
            self._end(process)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def watch(self) -> None:
        """Kill a process that takes too long for a study."""
        process, began = self._process, self._began
        if process is not None and began and time.monotonic() - began > self._settings.segment_seconds:
            process.kill()

    def stop(self) -> None:
        """End the process."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                limits = (self._settings.threads, self._settings.memory_bytes)
                words = ["-" if limit is None else str(limit) for limit in limits]
                self._process = start_python(["-m", "embedded_vit.node.segmenting", *words])
                self._done = 0
                if self._is_stopped:
                    self._process.kill()
            return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        end_python(process)
        with self._lock:
            if self._process is process:
                self._process = None
