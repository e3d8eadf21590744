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
import threading
import time
from collections.abc import Callable
from pathlib import Path

from embedded_vit.errors import ConfigError, EmbeddedVitError
from embedded_vit.io.file_lock import file_lock
from embedded_vit.node.audit import AuditLog
from embedded_vit.node.model_versions import ModelVersions
from embedded_vit.node.receiver import Receiver
from embedded_vit.node.segmenter import Segmenter
from embedded_vit.node.sender import Sender, SendError
from embedded_vit.node.settings import NodeSettings
from embedded_vit.node.study_folder import StudyFolder
from embedded_vit.node.study_queue import LIVE, State, StudyQueue, StudyRow

__all__ = ["Node"]

TICK_SECONDS = 0.05
WAIT_SECONDS = 0.25  # of a thread that looks whether there is something to do
MOST_ATTEMPTS = 3  # to segment a study
MOST_CHARACTERS = 300  # of a reason


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
        self._receiver = Receiver(settings, self._folder, self._queue, self._models, self._audit, self._free_bytes)
        try:
            self.port = self._receiver.start()
        except OSError as error:
            raise ConfigError(
                f"{settings.host}:{settings.port}: cannot listen there: {error.strerror or error}; give another --host "
                "or --port, or end the program that listens there"
            ) from error
        version = self._models.current()
        self._audit.write("started", port=self.port, model=version.name, sha256=version.sha256)
        threads = [threading.Thread(target=step, daemon=True) for step in (self._segment_all, self._send_all)]
        for thread in threads:
            thread.start()
        on_ready(self.port)
        try:
            while not self._stopped.wait(TICK_SECONDS):
                self._watch()
        finally:
            self._stopped.set()
            self._receiver.stop()
            self._segmenter.stop()
            for thread in threads:
                thread.join(timeout=5)
            self._audit.write("stopped")

    def _recover(self) -> None:
        """Go on where a node was stopped or killed."""
        now = time.monotonic()
        for row in self._queue.rows(*LIVE):
            if row.state == "receiving" and self._folder.image_count(row.number) == 0:
                self._queue.remove(row.number)
            elif row.state == "receiving":
                self._last[row.number] = now
            elif row.state == "segmenting":
                self._queue.change(row.number, "waiting")
            elif row.state == "sending":
                self._queue.change(row.number, next_try=0)
        live = self._queue.rows(*LIVE)
        self._folder.sweep(row.number for row in live)
        self._models.forget(row.model_sha256 for row in live)

    def _watch(self) -> None:
        """Look after connections and processes, and close studies that are complete."""
        ended, shut = self._receiver.connections.watch()
        for connection, reason in shut:
            self._audit.write("connection shut", address=connection.address, reason=reason)
        for connection in ended:
            released = connection.association is not None and connection.association.is_released
            for number in connection.studies:
                self._last[number] = time.monotonic()
                count = self._folder.image_count(number)
                self._queue.change(number, released=int(released), images=count)
                how = "released" if released else "aborted"
                self._audit.write("images received", study=number, images=connection.images, association=how)
        self._segmenter.watch()
        self._sender.watch()
        self._close_complete()

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
                del self._last[number]
                if row is None:
                    continue
                self._queue.change(number, "waiting", images=self._folder.image_count(number))
            self._work.set()

    def _segment_all(self) -> None:
        self._segmenter.warm_up(self._models.path(self._models.current().sha256))
        while not self._stopped.is_set():
            row = self._queue.due("waiting")
            if row is None:
                self._work.wait(WAIT_SECONDS)
                self._work.clear()
            else:
                self._segment(row)

    def _segment(self, row: StudyRow) -> None:
        """Segment a study, and say what has become of it."""
        number = row.number
        self._queue.change(number, "segmenting")
        began, model = time.monotonic(), self._models.path(row.model_sha256)
        answer = self._segmenter.segment(self._folder.images(number), self._folder.results(number), model)
        if self._stopped.is_set() and "error" in answer:
            self._queue.change(number, "waiting")
            return
        seconds, facts = round(time.monotonic() - began, 2), {"study": number, "model": row.model}
        note = "; ".join(answer.get("refused", []))[:MOST_CHARACTERS]
        if "error" in answer:
            note = str(answer["error"])[:MOST_CHARACTERS]
            self._audit.write("segmenting failed", **facts, attempt=row.attempts + 1, reason=note)
            if row.attempts + 1 < MOST_ATTEMPTS:
                pause = self._pause(row.attempts)
                self._queue.change(
                    number, "waiting", attempts=row.attempts + 1, next_try=time.time() + pause, note=note
                )
            else:
                self._finish(number, "failed", note)
        elif answer["results"] == 0:
            self._audit.write("refused", **facts, reason=note)
            self._finish(number, "refused", note)
        else:
            self._audit.write("segmented", **facts, sha256=row.model_sha256, results=answer["results"], seconds=seconds)
            self._queue.change(number, "sending", results=answer["results"], attempts=0, next_try=0, note=note)

    def _send_all(self) -> None:
        while not self._stopped.is_set():
            row = self._queue.due("sending")
            if row is None:
                self._stopped.wait(TICK_SECONDS)
            else:
                self._send(row)

    def _send(self, row: StudyRow) -> None:
        """Send the results of a study; try again later where the archive does not take them."""
        try:
            sent = self._sender.send(self._folder.result_files(row.number), row.attempts)
        except (SendError, EmbeddedVitError) as error:
            pause, note = self._pause(row.attempts), str(error)[:MOST_CHARACTERS]
            self._queue.change(row.number, attempts=row.attempts + 1, next_try=time.time() + pause, note=note)
            self._audit.write("not sent", study=row.number, attempt=row.attempts + 1, reason=note, again_in_s=pause)
        else:
            self._audit.write("sent", study=row.number, to=self._settings.send_to.ae_title, instances=sent)
            self._finish(row.number, "sent", row.note)

    def _pause(self, attempts: int) -> float:
        """Return the seconds until a step is tried again."""
        return float(
            min(self._settings.first_retry_seconds * 2 ** min(attempts, 30), self._settings.longest_retry_seconds)
        )

    def _finish(self, number: int, state: State, note: str) -> None:
        """Note the end of a study, and remove its files."""
        self._queue.change(number, state, note=note)
        self._folder.remove(number)
        self._queue.forget_old()
        with self._receiver.lock:  # a study that begins now may begin with the version before
            self._models.forget(row.model_sha256 for row in self._queue.rows(*LIVE))
