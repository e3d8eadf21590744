"""The DICOM node: killed, sent to by many at once, and with canaries in every text field."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from node_fixtures import Archive, RunningNode, bright_images, send, through_kills, wait_until, write_model

from embedded_vit.predict.predictor import Predictor
from faults.canaries import CANARY, canaries_in, text_keywords
from faults.row import Outcome

SENDERS_AT_ONCE = 8
ROWS = range(4, 12)  # of the bright block, by which masks are told apart
STUDIES_A_KILL = 3


@contextmanager
def running(folder: Path, *options: str) -> Iterator[tuple[RunningNode, Archive]]:
    """Start a node and an archive."""
    archive = Archive()
    options = ("--quiet", "0.2", "--quiet-after-abort", "6", *options)
    node = RunningNode(write_model(folder / "model.onnx"), archive.port, folder / "store", *options)
    try:
        yield node, archive
    finally:
        node.stop()
        archive.stop()


def is_empty(node: RunningNode) -> bool:
    """Whether the store holds no image and no result any more."""
    return not any(list((node.store / place).iterdir()) for place in ("studies", "incoming"))


def node_killed(count: int, folder: Path) -> Outcome:
    """Kill a node so often; each study is one that is tried, and must be in the archive once."""
    outcome = Outcome(note=f"{count} kills")
    with running(folder) as (node, archive):
        studies, _ = through_kills(node, archive, STUDIES_A_KILL * count, count)
        wait_until(lambda: is_empty(node))
        for study in studies:
            stored = len(archive.of(study))
            outcome.count(good=stored == 1, message=f"{study} is stored {stored} times")
        left = [path.name for path in node.store.rglob(".*")]
        outcome.count(good=not left, message=f"left: {left}")
    return outcome


def voxels_of(model: Path, folder: Path) -> dict[int, int]:
    """Return how many voxels `predict` labels for each height of the block."""
    find, counts = Predictor.load(model, threads=1), {}
    for rows in ROWS:
        series = folder / f"series{rows}"
        series.mkdir()
        for index, image in enumerate(bright_images("1.2.3", rows=rows)):
            image.save_as(series / f"{index}.dcm", enforce_file_format=True)
        counts[rows] = int((find.predict(series).mask.array > 0).sum())
    return counts


def voxels_in(archive: Archive, study: str) -> int:
    """Return how many voxels the segmentation of a study labels; -1 without one."""
    found = archive.of(study)
    return int((found[0].pixel_array > 0).sum()) if found else -1


def node_at_once(count: int, folder: Path) -> Outcome:
    """Let scanners send at the same time; each study gets the mask of its own images."""
    outcome = Outcome()
    with running(folder) as (node, archive):
        expected = voxels_of(folder / "model.onnx", folder)
        assert len(set(expected.values())) == len(ROWS)

        def sent(number: int) -> int:
            images = bright_images(f"1.2.{3000 + number}", rows=ROWS[number % len(ROWS)])
            while send(node.port, images, caller=f"CT{number % SENDERS_AT_ONCE}") != [0] * len(images):
                time.sleep(0.1)  # the node asks to come again where too many call
            return number

        with ThreadPoolExecutor(SENDERS_AT_ONCE) as pool:
            numbers = list(pool.map(sent, range(count)))
        wait_until(lambda: all(archive.of(f"1.2.{3000 + number}") for number in numbers), 60 + 5 * count)
        for number in numbers:
            found, wanted = voxels_in(archive, f"1.2.{3000 + number}"), expected[ROWS[number % len(ROWS)]]
            outcome.count(good=found == wanted, message=f"study {number}: {found} voxels, expected {wanted}")
    return outcome


def node_canaries(count: int, folder: Path) -> Outcome:
    """Send studies with canaries in text fields: they are in the results alone, and nothing of them stays."""
    outcome, keywords = Outcome(), text_keywords()
    step = -(-len(keywords) // count)
    with running(folder, "--format", "all") as (node, archive):
        for start in range(0, len(keywords), step):
            tags = canaries_in(keywords[start : start + step])
            study = f"1.2.{6000 + start}"
            good = send(node.port, bright_images(study, **tags)) == [0] * 3
            good = good and bool(wait_until(lambda study=study: archive.of(study) or "refused" in node.status()))
            outcome.count(good=good, message=f"the fields from {keywords[start]}: not stored")
        wait_until(lambda: is_empty(node))
        found = [path.name for path in node.store.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
        found += ["what is printed"] if CANARY in node.status() + "".join(node.lines) else []
        mode = node.store.stat().st_mode & 0o777
        outcome.count(good=not found and mode == 0o700, message=f"in {found}, mode {mode:o}")
    return outcome


def node_soaked(seconds: float, folder: Path) -> tuple[int, int, list[str]]:
    """Send studies for so many seconds.

    Returns:
        How many; by how many bytes memory grew after the first tenth; what went wrong.
    """
    number, before, wrong = 0, 0, []
    with running(folder) as (node, archive):
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            study = f"1.2.{9000 + number}"
            if send(node.port, bright_images(study)) != [0] * 3:
                wrong.append(f"study {number} was not taken")
            wait_until(lambda study=study: archive.of(study))
            archive.objects.clear()  # so that the archive does not grow
            number += 1
            if not before and number >= 10 and time.monotonic() - began > seconds / 10:
                before = node.resident_bytes(with_children=True)
        grown = node.resident_bytes(with_children=True) - before if before else 0
        wrong += [line for line in node.lines if "refused" in line or "failed" in line]
    return number, grown, wrong
