"""What a node does with a study that it has received: have it segmented, send the results on, forget it.

Each step takes the oldest study whose time has come, and either finishes it or has it tried again later. Before and
after each of its parts the queue on the disk says where the study is, so that the process may be killed between any
two of them.
"""

from __future__ import annotations

import threading
import time

from embedded_vit.errors import EmbeddedVitError
from embedded_vit.node.audit import kind_and_place
from embedded_vit.node.segmenter import Segmenter
from embedded_vit.node.sender import Sender, SendError
from embedded_vit.node.shared import Shared
from embedded_vit.node.study_queue import LIVE, State, StudyRow

__all__ = ["StudySteps"]

MOST_ATTEMPTS = 3  # to segment a study; a full disk is not counted
DISK_SECONDS = 10  # until a disk that took no result is tried again
MOST_CHARACTERS = 300  # of a reason


class StudySteps:
    """The two steps of a study, each for one thread.

    Args:
        shared: What all parts of the node share.
        lock: Held while an image finds its place in a study.
        stopped: Set when the node ends.
    """

    def __init__(
        self, shared: Shared, segmenter: Segmenter, sender: Sender, *, lock: threading.Lock, stopped: threading.Event
    ) -> None:
        self._settings, self._folder, self._queue = shared.settings, shared.folder, shared.queue
        self._models, self._audit = shared.models, shared.audit
        self._segmenter, self._sender, self._lock, self._stopped = segmenter, sender, lock, stopped

    def segment(self) -> bool:
        """Segment the oldest study that waits; return whether there was one."""
        row = self._queue.due("segmenting") or self._queue.due("waiting")  # the first: of a try that the disk cut short
        if row is None:
            return False
        self._queue.change(row.number, "segmenting")
        began, model = time.monotonic(), self._models.path(row.model_sha256)
        answer = self._segmenter.segment(self._folder.images(row.number), self._folder.results(row.number), model)
        self._folder.measure(row.number)
        if "error" not in answer:
            self._segmented(row, answer["results"], "; ".join(answer["refused"]), time.monotonic() - began)
        elif self._stopped.is_set():
            self._queue.change(row.number, "waiting")
        else:
            self._not_segmented(row, str(answer["error"])[:MOST_CHARACTERS], may_pass=bool(answer.get("passes")))
        return True

    def _segmented(self, row: StudyRow, results: int, refused: str, seconds: float) -> None:
        note, facts = refused[:MOST_CHARACTERS], {"study": row.number, "model": row.model}
        if results == 0:
            self._audit.write("refused", **facts, reason=note)
            self._finish(row, "refused", note)
        else:
            facts |= {"sha256": row.model_sha256, "results": results, "seconds": round(seconds, 2)}
            self._audit.write("segmented", **facts)
            self._queue.change(row.number, "sending", results=results, attempts=0, next_try=0, note=note)

    def _not_segmented(self, row: StudyRow, reason: str, *, may_pass: bool) -> None:
        attempt = row.attempts + 1
        self._audit.write("segmenting failed", study=row.number, model=row.model, attempt=attempt, reason=reason)
        if may_pass:
            self._queue.again_in(row.number, DISK_SECONDS, state="waiting", note=reason)
        elif attempt < MOST_ATTEMPTS:
            pause = self._pause_seconds(row.attempts)
            self._queue.again_in(row.number, pause, state="waiting", attempts=attempt, note=reason)
        else:
            self._finish(row, "failed", reason)

    def send(self) -> bool:
        """Send the results of the oldest study that was segmented; return whether there was one."""
        row = self._queue.due("sending")
        if row is None:
            return False
        try:
            sent = self._sender.send(self._folder.result_files(row.number), row.attempts)
        except FileNotFoundError:  # somebody has removed them
            self._queue.change(row.number, "waiting", attempts=0)
        except (SendError, EmbeddedVitError) as error:
            self._not_sent(row, str(error))
        except Exception as error:  # whatever an odd answer leads to in pynetdicom; other studies must not wait for it
            self._not_sent(row, kind_and_place(error))
        else:
            to = self._settings.send_to.ae_title
            self._audit.write("sent", study=row.number, to=to, instances=sent)
            self._finish(row, "sent", row.note)
        return True

    def _not_sent(self, row: StudyRow, reason: str) -> None:
        attempt, note, pause = row.attempts + 1, reason[:MOST_CHARACTERS], self._pause_seconds(row.attempts)
        self._queue.again_in(row.number, pause, attempts=attempt, note=note)
        self._audit.write("not sent", study=row.number, attempt=attempt, reason=note, again_in_s=pause)

    def _pause_seconds(self, attempts: int) -> float:
        """Return how long to wait before a step is tried again."""
        settings = self._settings
        return float(min(settings.first_retry_seconds * 2 ** min(attempts, 30), settings.longest_retry_seconds))

    def _finish(self, row: StudyRow, state: State, note: str) -> None:
        """Note the end of a study, and remove its files."""
        self._queue.change(row.number, state, note=note)
        self._folder.remove(row.number)
        self._queue.forget_old()
        with self._lock:  # a study that begins now may begin with the version before
            self._models.forget(live.model_sha256 for live in self._queue.rows(*LIVE))
