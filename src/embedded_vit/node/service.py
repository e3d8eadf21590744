"""The node: receives studies, has them segmented, sends the results on.

    main loop    watches connections, and closes studies that are complete
    receiver     pynetdicom's threads, two an association
    segmenting   a thread that waits for a process
    sending      a thread that waits for the archive

Every step is in the queue before it is done, or repeats itself without harm. So a node that was killed goes on where it
was, and the archive gets every result once: a result that is sent twice has the same UID.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.io.file_lock import file_lock
from embedded_vit.node.audit import AuditLog, kind_and_place
from embedded_vit.node.model_versions import ModelVersions
from embedded_vit.node.receiver import Receiver
from embedded_vit.node.segmenter import Segmenter
from embedded_vit.node.sender import Sender
from embedded_vit.node.settings import NodeSettings
from embedded_vit.node.shared import Shared
from embedded_vit.node.steps import StudySteps
from embedded_vit.node.study_folder import StudyFolder
from embedded_vit.node.study_queue import LIVE, StudyQueue

__all__ = ["Node"]

TICK_SECONDS = 0.05
WAIT_SECONDS = 0.25  # of a thread that looks whether there is something to do
DISK_SECONDS = 10  # until a store that cannot be written is tried again


class Node:
    """A node that can run."""

    def __init__(
        self,
        settings: NodeSettings,
        model: Path,
        folder: Path,
        *,
        on_line: Callable[[str], None] | None = None,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        """Prepare a node.

        Args:
            settings: Its settings.
            model: The model file, which may be replaced while the node runs.
            folder: Where it keeps what it received; only its owner may look into it.
            on_line: Takes each line of the audit log.
            free_bytes: Returns the room on the disk that a path lies on.

        Raises:
            EmbeddedVitError: The folder or the model cannot be used.
        """
        os.umask(0o077)
        self._settings = settings
        self._folder = StudyFolder(folder, settings.store_bytes)
        self._audit = AuditLog(folder / "audit.log", on_line)
        self._model, self._free_bytes = model, free_bytes
        self._stopped, self._work = threading.Event(), threading.Event()
        self._failure, self._is_warm = "", False
        self._last: dict[int, float] = {}  # number of a study -> when a connection that sent it ended
        self.port = 0

    def stop(self) -> None:
        """Have `run` return; any thread and any signal handler may call."""
        self._stopped.set()

    def run(self, on_ready: Callable[[int], None] = lambda port: None) -> None:
        """Run until `stop`.

        Args:
            on_ready: Called with the port when the node listens.

        Raises:
            ConfigError: Another node runs in this folder, or address, port or TLS files cannot be used.
            EmbeddedVitError: The model cannot be used.
        """
        with file_lock(self._folder.lock_path) as is_ours:
            if not is_ours:
                raise ConfigError(f"{self._folder.path}: another node runs here; give each node a --store of its own")
            self._models = ModelVersions(self._model, self._folder.models, self._audit)
            self._queue = StudyQueue(self._folder.queue_path)
            try:
                self._run(on_ready)
            finally:
                self._queue.close()

    def _run(self, on_ready: Callable[[int], None]) -> None:
        self._recover()
        settings = self._settings
        self._segmenter, self._sender = Segmenter(settings), Sender(settings)
        shared = Shared(settings, self._folder, self._queue, self._models, self._audit)
        self._receiver = Receiver(shared, self._free_bytes)
        try:
            self.port = self._receiver.start()
        except OSError as error:
            raise ConfigError(
                f"{settings.host}:{settings.port}: cannot listen there: {error.strerror or error}; give another --host "
                "or --port, or end the program that listens there"
            ) from error
        version = self._models.current()
        self._audit.write("started", port=self.port, model=version.name, sha256=version.sha256)
        self._steps = StudySteps(shared, self._segmenter, self._sender, lock=self._receiver.lock, stopped=self._stopped)
        threads = [threading.Thread(target=step, daemon=True) for step in (self._segment_all, self._send_all)]
        for thread in threads:
            thread.start()
        on_ready(self.port)
        try:
            self._repeat(self._watch, lambda: self._stopped.wait(TICK_SECONDS))
        finally:
            self._stopped.set()
            self._receiver.stop()
            self._segmenter.stop()
            for thread in threads:
                thread.join(timeout=5)
            self._audit.write("stopped")
        if self._failure:
            raise EmbeddedVitError(f"the node ended by a mistake in its code ({self._failure}): report it; nothing is "
                                   "lost, start it again")  # fmt: skip

    def _recover(self) -> None:
        """Go on where a node was stopped or killed."""
        now = time.monotonic()
        for row in self._queue.rows(*LIVE):
            if row.state == "receiving" and self._folder.image_count(row.number) == 0:
                self._queue.remove(row.number)
            elif row.state == "receiving":
                self._last[row.number] = now
            else:
                self._queue.change(row.number, next_try=0)
        live = self._queue.rows(*LIVE)
        self._folder.sweep(row.number for row in live)
        self._models.forget(row.model_sha256 for row in live)

    def _watch(self) -> bool:
        """Look after connections and processes, and close studies that are complete; return that there is no hurry."""
        ended, shut = self._receiver.connections.watch()
        self._last |= {number: time.monotonic() for connection in ended for number in connection.studies}
        for connection, reason in shut:
            self._audit.write("connection shut", address=connection.address, reason=reason)
        for connection in ended:
            released = connection.association is not None and connection.association.is_released
            for number in connection.studies:
                count = self._folder.image_count(number)
                self._queue.change(number, released=int(released), images=count)
                how = "released" if released else "aborted"
                self._audit.write("images received", study=number, images=connection.images, association=how)
        self._segmenter.watch()
        self._sender.watch()
        self._close_complete()
        return False

    def _close_complete(self) -> None:
        """Let studies be segmented whose associations have ended, and that were quiet for long enough."""
        now = time.monotonic()
        for number, last in list(self._last.items()):
            if now - last < min(self._settings.quiet_seconds, self._settings.interrupted_seconds):
                continue
            with self._receiver.lock:
                row = next((row for row in self._queue.rows("receiving") if row.number == number), None)
                if row is not None and self._receiver.connections.sending(number):
                    continue
                quiet = self._settings.quiet_seconds if row and row.released else self._settings.interrupted_seconds
                if row is not None and now - last < quiet:
                    continue
                if row is not None:
                    self._queue.change(number, "waiting", images=self._folder.image_count(number))
                del self._last[number]
            self._work.set()

    def _segment_all(self) -> None:
        def segment() -> bool:
            if not self._is_warm:
                self._is_warm = True
                self._segmenter.warm_up(self._models.path(self._models.current().sha256))
            return self._steps.segment()

        def wait() -> None:
            self._work.wait(WAIT_SECONDS)
            self._work.clear()

        self._repeat(segment, wait)

    def _send_all(self) -> None:
        self._repeat(self._steps.send, lambda: self._stopped.wait(TICK_SECONDS))

    def _repeat(self, step: Callable[[], bool], wait: Callable[[], object]) -> None:
        """Do a step until the node is stopped.

        Args:
            step: Returns whether there was something to do.
            wait: Waits where there was nothing.
        """
        while not self._stopped.is_set():
            try:
                if not step():
                    wait()
            except (OSError, sqlite3.Error) as error:  # no room on the disk, no process: both may pass
                self._tell_waiting(error)
                self._stopped.wait(DISK_SECONDS)
            except Exception as error:  # a mistake of ours: the node must not seem to work
                self._failure = kind_and_place(error)
                self._stopped.set()

    def _tell_waiting(self, error: Exception) -> None:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        self._audit.write("waiting for the system", reason=reason)
