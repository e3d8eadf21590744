"""A node that is killed between any two of its steps goes on where it was: each study is stored once."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

import killed_node
import pytest
from node_fixtures import Archive, bright_images, send, wait_until

from embedded_vit.node.settings import Destination, NodeSettings
from embedded_vit.node.study_queue import LIVE, read_rows

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Processes that begin with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["embedded_vit.node.service", "embedded_vit.node.segmenter"])
    return context


def start(
    processes: multiprocessing.context.ForkServerContext, archive: Archive, model: Path, store: Path, place: str | None
) -> tuple[BaseProcess, int]:
    """Start a node; return its process and its port."""
    to = Destination(ae_title="ARCHIVE", host="127.0.0.1", port=archive.port)
    settings = NodeSettings(port=0, send_to=to, quiet_seconds=0, interrupted_seconds=0)
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=killed_node.run, args=(settings, model, store, place, there), daemon=True)
    process.start()
    assert here.poll(60)
    return process, here.recv()


@pytest.mark.parametrize("place", killed_node.PLACES)
def test_a_study_is_stored_once_wherever_the_node_is_killed(
    processes: multiprocessing.context.ForkServerContext, archive: Archive, model: Path, tmp_path: Path, place: str
) -> None:
    study, store = f"1.2.{300 + list(killed_node.PLACES).index(place)}", tmp_path / "store"
    image = bright_images(study, images=1)
    process, port = start(processes, archive, model, store, place)
    is_answered = send(port, image, patience_seconds=5) == [0]
    process.join(30)
    assert process.exitcode == -9
    process, port = start(processes, archive, model, store, None)
    try:
        if not is_answered:
            assert send(port, image) == [0]
        wait_until(lambda: archive.of(study))
        wait_until(lambda: not [row for row in read_rows(store / "queue.sqlite") if row.state in LIVE])
        wait_until(lambda: not [*(store / "studies").iterdir(), *(store / "incoming").iterdir()])
    finally:
        process.kill()
        process.join()
    assert [str(stored.SOPInstanceUID) for stored in archive.of(study)] == [f"{study}.7"]
    states = Counter(row.state for row in read_rows(store / "queue.sqlite"))
    assert set(states) == {"sent"}
    assert is_answered == (list(killed_node.PLACES).index(place) >= 3)
    assert states["sent"] == 1 or not is_answered  # what was not answered may have been received all the same
