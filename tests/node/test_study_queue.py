"""The queue and the folder of a node: what stays, what goes, who may look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedded_vit.errors import ConfigError, OutputError
from embedded_vit.node import study_folder, study_queue
from embedded_vit.node.study_folder import StudyFolder
from embedded_vit.node.study_queue import StudyQueue, read_rows

MODEL = ("model", "0" * 64)


def test_a_study_has_one_row_while_it_is_received(tmp_path: Path) -> None:
    queue = StudyQueue(tmp_path / "queue.sqlite")
    first = queue.begin("a", "CT1", *MODEL)
    queue.change(first, released=1)
    assert queue.begin("a", "CT2", *MODEL) == first
    assert (queue.rows("receiving")[0].released, queue.rows("receiving")[0].sender) == (0, "CT1")
    queue.change(first, "waiting")
    second = queue.begin("a", "CT1", *MODEL)
    assert second != first
    queue.remove(second)
    assert queue.begin("a", "CT1", *MODEL) > second  # a number names one study for ever
    assert [row.number for row in read_rows(tmp_path / "queue.sqlite")] == [first, second + 1]


def test_what_is_tried_again_later_lets_others_pass(tmp_path: Path) -> None:
    queue = StudyQueue(tmp_path / "queue.sqlite")
    first, second = (queue.begin(study, "CT1", *MODEL) for study in "ab")
    for number in (first, second):
        queue.change(number, "sending")
    queue.change(first, next_try=2.0**40)
    assert queue.due("sending").number == second


def test_only_the_latest_finished_studies_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_queue, "FINISHED_ROWS", 2)
    queue = StudyQueue(tmp_path / "queue.sqlite")
    for study in "abcde":
        queue.change(queue.begin(study, "CT1", *MODEL), "sent")
    queue.begin("f", "CT1", *MODEL)
    queue.change(1, "failed")
    queue.forget_old()
    assert [row.study for row in read_rows(tmp_path / "queue.sqlite")] == ["d", "e", "f"]


def test_only_the_owner_may_look_into_the_folder(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    folder = StudyFolder(tmp_path / "store", 1000)
    assert {path.stat().st_mode & 0o777 for path in (folder.path, folder.incoming, folder.models)} == {0o700}


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds other files"):
        StudyFolder(tmp_path, 1000)


def received(folder: StudyFolder, content: bytes) -> Path:
    path = folder.incoming / "tmp1.dcm"
    path.write_bytes(content)
    return path


def bytes_there(folder: StudyFolder) -> int:
    return sum(path.stat().st_size for path in (folder.path / "studies").rglob("*") if path.is_file())


def test_room_is_counted_and_given_back(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, 1000)
    with folder.reserved(600) as fits:
        assert fits
        with folder.reserved(600) as fits_too:
            assert not fits_too
        folder.keep(received(folder, bytes(600)), 7, "1.2", "1.2.3")
    folder.keep(received(folder, bytes(500)), 7, "1.2", "1.2.3")  # the same image again, which replaces it
    assert folder.image_count(7) == 1
    assert folder.taken_bytes == bytes_there(folder) == 500
    folder.keep(received(folder, bytes(300)), 8, "1.2", "1.2.3")
    folder.results(8).mkdir()
    (folder.results(8) / "seg.dcm").write_bytes(bytes(100))
    folder.measure(8)
    assert folder.taken_bytes == bytes_there(folder) == 900
    folder.lock_path.touch()
    again = StudyFolder(tmp_path, 1000)  # after a kill
    again.sweep([7, 8])
    assert again.taken_bytes == 900
    folder.remove(7)
    assert folder.taken_bytes == bytes_there(folder) == 400
    with folder.reserved(600) as fits:
        assert fits


def test_what_could_not_be_kept_takes_no_room(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, 1000)
    (tmp_path / "studies" / "7").write_text("in the way")
    with pytest.raises(OSError, match="studies"), folder.reserved(600):
        folder.keep(received(folder, bytes(600)), 7, "1.2", "1.2.3")
    assert folder.taken_bytes == 0


def test_a_folder_is_on_the_disk_before_the_first_image_in_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, flushed = StudyFolder(tmp_path, 1000), []
    monkeypatch.setattr(study_folder, "flush", lambda path: flushed.append(path.name))
    series = study_folder.short_digest("1.2")
    (folder.images(7) / series).mkdir(parents=True)  # by another thread, which has not flushed it yet
    folder.keep(received(folder, b"1"), 7, "1.2", "1.2.3")
    assert sorted(flushed) == sorted(["tmp1.dcm", series, "images", "7", "studies"])
    flushed.clear()
    folder.keep(received(folder, b"2"), 7, "1.2", "1.2.4")
    assert flushed == ["tmp1.dcm", series]
    folder.remove(7)
    folder.keep(received(folder, b"3"), 7, "1.2", "1.2.5")
    assert "studies" in flushed


def test_a_study_is_removed_without_a_look_at_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StudyFolder(tmp_path, 1000)
    for number in (7, 8):
        folder.keep(received(folder, bytes(100)), number, "1.2", "1.2.3")
    walked, walk = [], os.walk
    monkeypatch.setattr(os, "walk", lambda top, **options: walked.append(str(top)) or walk(top, **options))
    folder.remove(7)
    assert [path for path in walked if not path.endswith("/7")] == []
    assert folder.taken_bytes == 100


def test_what_a_killed_node_left_is_swept(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, 1000)
    for number in (1, 2):
        folder.keep(received(folder, b"image"), number, "1.2", "1.2.3")
    (folder.results(2).with_name("results.4711")).mkdir()
    received(folder, b"half an image")
    folder.sweep([2])
    assert list(folder.incoming.iterdir()) == []
    assert not folder.images(1).exists()
    assert [path.name for path in folder.images(2).parent.iterdir()] == ["images"]


def test_a_queue_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite").write_bytes(b"not a data base" * 100)
    for path in (tmp_path / "queue.sqlite", tmp_path / "nowhere" / "queue.sqlite"):
        with pytest.raises(OutputError, match=r"the queue cannot be written: .*; make room on the disk"):
            StudyQueue(path)
