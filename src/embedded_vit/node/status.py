"""What `embedded-vit node status` shows: the queue of a node, whether it runs or not."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from pathlib import Path

from embedded_vit.columns import in_columns
from embedded_vit.errors import InputError
from embedded_vit.io.file_lock import file_lock
from embedded_vit.node.study_queue import LIVE, StudyRow, read_rows

__all__ = ["node_status"]

FINISHED_SHOWN = 20


def node_status(folder: Path) -> str:
    """Return the state of a node as text: what waits, and what became of the last studies.

    Args:
        folder: Of the node.

    Raises:
        InputError: It is not the folder of a node.
    """
    queue = folder / "queue.sqlite"
    if not queue.is_file():
        raise InputError(f"{folder}: no node has run here; give the --store or the --ae-title of a node")
    try:
        rows = read_rows(queue)
    except sqlite3.Error as error:
        raise InputError(f"{queue}: not the queue of a node ({error}); give the --store of a node") from error
    with file_lock(folder / "lock") as is_free:
        running = not is_free
    counts = Counter(row.state for row in rows)
    live = [row for row in rows if row.state in LIVE]
    finished = [row for row in rows if row.state not in LIVE][-FINISHED_SHOWN:]
    lines = [f"{folder}: {'running' if running else 'not running'}"]
    lines.append(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "no studies yet")
    if rows:
        header = ["study", "begun", "from", "state", "images", "results", "model", "version", "remark"]
        lines += ["", *in_columns([header, *(_cells(row) for row in [*finished, *live])])]
    return "\n".join(lines)


def _cells(row: StudyRow) -> list[str]:
    begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.begun))
    remark = row.note
    if row.state == "sending" and row.attempts:
        remark = f"{row.note}; tried {row.attempts} times"
    numbers = [str(row.number), begun, row.sender, row.state, str(row.images), str(row.results)]
    return [*numbers, row.model, row.model_sha256[:12], remark[:100]]
