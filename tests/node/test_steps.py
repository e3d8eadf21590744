"""The steps of a study, one by one, with a clock that the test moves: what is tried again, when, and for how long."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from node_fixtures import write_model

from embedded_vit.node.audit import AuditLog
from embedded_vit.node.model_versions import ModelVersions
from embedded_vit.node.sender import SendError
from embedded_vit.node.settings import Destination, NodeSettings
from embedded_vit.node.shared import Shared
from embedded_vit.node.steps import StudySteps
from embedded_vit.node.study_folder import StudyFolder
from embedded_vit.node.study_queue import StudyQueue, StudyRow

CANARY = "Doe^Jane"


class Bench:
    """The steps, with a segmenter and a sender that do what the test says."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.seconds, self.answers, self.outcomes, self.models_used = 1000.0, [], [], []
        to = Destination.read("ARCHIVE@127.0.0.1:1")
        store = StudyFolder(folder / "store", 2**20)
        self.queue = StudyQueue(store.queue_path, lambda: self.seconds)
        self.log = store.path / "audit.log"
        audit = AuditLog(self.log)
        self.model = write_model(folder / "model.onnx")
        self.models = ModelVersions(self.model, store.models, audit)
        shared = Shared(NodeSettings(send_to=to, **settings), store, self.queue, self.models, audit)
        self.folder = store
        self.steps = StudySteps(shared, self, self, lock=threading.Lock(), stopped=threading.Event())

    def receive(self, study: str, state: str = "waiting") -> int:
        """Put a study of one image and one result into the queue; return its number."""
        version = self.models.current()
        number = self.queue.begin(study, "CT1", version.name, version.sha256)
        path = self.folder.incoming / "x"
        path.write_bytes(b"image")
        self.folder.keep(path, number, "1.2", "1.2.3")
        self.folder.results(number).mkdir()
        (self.folder.results(number) / "seg.dcm").write_bytes(b"result")
        self.queue.change(number, state)
        return number

    def segment(self, images: Path, results: Path, model: Path) -> dict[str, Any]:
        """Answer as the process that segments."""
        self.models_used.append(model)
        return self.answers.pop(0)

    def send(self, files: Sequence[Path], attempts: int) -> list[str]:
        """Answer as the sender."""
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def row(self, number: int) -> StudyRow:
        (row,) = (row for row in self.queue.rows("waiting", "segmenting", "sending", "sent", "refused", "failed")
                  if row.number == number)  # fmt: skip
        return row


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """The steps over an empty store."""
    return Bench(tmp_path, longest_retry_seconds=60)


def test_an_archive_that_is_away_is_tried_after_pauses_that_double_up_to_the_longest(bench: Bench) -> None:
    number, pauses = bench.receive("a", "sending"), []
    while len(pauses) < 9:
        bench.outcomes = [SendError("no connection")]
        assert bench.steps.send()
        before, bench.seconds = bench.seconds, bench.row(number).next_try - 0.001
        assert not bench.steps.send()  # too early
        bench.seconds += 0.001
        pauses.append(round(bench.seconds - before, 6))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert (bench.row(number).attempts, bench.row(number).note) == (9, "no connection")
    bench.outcomes = [["1.2.7"]]
    assert bench.steps.send()
    assert bench.row(number).state == "sent"
    assert not bench.folder.images(number).exists()
    assert bench.folder.taken_bytes == 0


def test_a_study_that_cannot_be_sent_lets_the_next_one_pass(bench: Bench) -> None:
    first, second = (bench.receive(study, "sending") for study in "ab")
    bench.outcomes = [KeyError(CANARY), ["1.2.7"]]  # an odd answer, of which pynetdicom makes anything
    assert bench.steps.send()
    assert bench.steps.send()
    assert (bench.row(first).state, bench.row(second).state) == ("sending", "sent")
    assert bench.row(first).note.startswith("KeyError at test_steps.py:")
    assert CANARY not in bench.log.read_text() + bench.row(first).note


def test_a_full_disk_is_waited_for_and_other_faults_are_tried_three_times(bench: Bench) -> None:
    number = bench.receive("a")
    bench.answers = [{"error": "the disk is full", "passes": True}] * 20 + [{"error": "KeyError", "passes": False}] * 3
    for _ in range(22):
        assert bench.steps.segment()
        assert not bench.steps.segment()  # not at once
        assert bench.row(number).state == "waiting"
        bench.seconds += 60
    assert bench.steps.segment()
    assert (bench.row(number).state, bench.row(number).note) == ("failed", "KeyError")
    assert not bench.folder.images(number).exists()


def test_a_study_whose_new_state_could_not_be_written_is_segmented_again(bench: Bench) -> None:
    number = bench.receive("a", "segmenting")
    bench.answers = [{"results": 1, "refused": []}]
    assert bench.steps.segment()
    assert bench.row(number).state == "sending"


def test_results_that_somebody_removed_are_made_again(bench: Bench) -> None:
    number = bench.receive("a", "sending")
    (bench.folder.results(number) / "seg.dcm").unlink()
    bench.folder.results(number).rmdir()
    assert bench.steps.send()
    assert bench.row(number).state == "waiting"


def test_a_study_ends_with_the_model_that_it_began_with_and_that_one_goes_when_nobody_needs_it(bench: Bench) -> None:
    first = bench.receive("a")
    write_model(bench.model, name="second")
    second = bench.receive("b")
    bench.answers, bench.outcomes = [{"results": 1, "refused": []}] * 2, [["1.2.7"], ["1.2.8"]]
    assert bench.steps.segment()
    assert bench.steps.segment()
    assert bench.models_used == [bench.models.path(bench.row(number).model_sha256) for number in (first, second)]
    assert [bench.row(number).model for number in (first, second)] == ["threshold", "second"]
    assert len(list(bench.folder.models.iterdir())) == 2
    assert bench.steps.send()
    assert [path.stem for path in bench.folder.models.iterdir()] == [bench.row(second).model_sha256]
