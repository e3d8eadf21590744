"""A node that is killed again and again: no study is lost, none is stored twice.

Three senders send studies of their own, each study until all of it was answered with Success, while the node is killed
with SIGKILL and started again. `make node-test` sends 200 studies through 30 kills.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from node_fixtures import Archive, RunningNode, bright_images, send, through_kills, wait_until, write_model

STUDIES = int(os.environ.get("NODE_STUDIES", "10"))
KILLS = int(os.environ.get("NODE_KILLS", "3"))
MOST_RESIDENT_BYTES = 300 * 2**20
LONG_TEST = 100  # studies; from here on it is seen whether memory stays flat
MOST_GROWTH = 0.05  # of the memory of both processes, from the 10th to the 40th study of a life


def growth_of_memory(node: RunningNode, archive: Archive) -> float:
    """Return by which share memory grows while studies come and go, in a node that was just started."""
    node.kill()
    node.start()
    taken = []
    for number in range(40):
        study = f"1.2.{5000 + number}"
        assert send(node.port, bright_images(study)) == [0] * 3
        wait_until(lambda study=study: archive.of(study))
        taken.append(node.resident_bytes(with_children=True))
    return taken[-1] / taken[9] - 1


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.timeout(3600)
def test_no_study_is_lost_and_none_is_stored_twice(tmp_path: Path) -> None:
    archive = Archive()
    options = ("--quiet", "0.2", "--quiet-after-abort", "6")
    node = RunningNode(write_model(tmp_path / "model.onnx"), archive.port, tmp_path / "store", *options)
    studies, memory = through_kills(node, archive, STUDIES, KILLS)
    growth = growth_of_memory(node, archive) if STUDIES >= LONG_TEST else 0.0
    assert node.stop() == 0
    archive.stop()
    assert [len(archive.of(study)) for study in studies] == [1] * STUDIES
    assert max(memory) <= MOST_RESIDENT_BYTES
    assert growth <= MOST_GROWTH
