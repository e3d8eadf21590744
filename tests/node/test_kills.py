"""A node that is killed again and again: no study is lost, none is stored twice.

Three senders send studies of their own, each study until all of it was answered with Success, while the node is killed
with SIGKILL and started again. `make node-test` sends 200 studies through 30 kills.
"""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from pathlib import Path

import pytest
from node_fixtures import Archive, RunningNode, bright_images, send, wait_until, write_model

STUDIES = int(os.environ.get("NODE_STUDIES", "10"))
KILLS = int(os.environ.get("NODE_KILLS", "3"))
SENDERS = 3
MOST_RESIDENT_BYTES = 300 * 2**20
MOST_SLOPE = 0.1  # of memory, between the second and the last quarter of a long test


class Sending(threading.Thread):
    """Sends studies, each until it was received; the port changes when the node is started again."""

    def __init__(self, node: RunningNode, numbers: range) -> None:
        super().__init__(daemon=True)
        self.node, self.numbers, self.received = node, numbers, 0

    def run(self) -> None:
        for number in self.numbers:
            images = bright_images(f"1.2.{1000 + number}")
            while send(self.node.port, images, caller=f"CT{number % SENDERS}", patience_seconds=2) != [0] * len(images):
                time.sleep(0.1)
            self.received += 1


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.timeout(3600)
def test_no_study_is_lost_and_none_is_stored_twice(tmp_path: Path) -> None:
    archive, pauses, memory = Archive(), random.Random(7), []
    options = ("--quiet", "0.2", "--quiet-after-abort", "6")
    node = RunningNode(write_model(tmp_path / "model.onnx"), archive.port, tmp_path / "store", *options)
    senders = [Sending(node, range(first, STUDIES, SENDERS)) for first in range(SENDERS)]
    for sender in senders:
        sender.start()
    for kill in range(KILLS):
        due = (kill + 1) * STUDIES / (KILLS + 1)  # spread over the whole test
        wait_until(lambda due=due: len(archive.times) >= due - 2 or sum(one.received for one in senders) >= due, 300)
        time.sleep(pauses.uniform(0, 0.6))
        memory.append(node.resident_bytes(with_children=True))
        node.kill()
        node.start()
    studies = [f"1.2.{1000 + number}" for number in range(STUDIES)]
    wait_until(lambda: all(archive.of(study) for study in studies), 60 + STUDIES * 5)
    memory.append(node.resident_bytes(with_children=True))
    wait_until(lambda: not list((node.store / "studies").iterdir()))
    assert node.stop() == 0
    archive.stop()
    assert [len(archive.of(study)) for study in studies] == [1] * STUDIES
    assert max(memory) <= MOST_RESIDENT_BYTES
    if len(memory) >= 8:
        quarter = len(memory) // 4
        early, late = (statistics.mean(part) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
        assert late <= early * (1 + MOST_SLOPE)
