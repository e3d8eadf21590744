"""One predictor for many threads, one model for many processes: no mask of another scan, and memory stays flat."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from embedded_vit.predict.memory import resident_bytes
from faults.row import Outcome, environment
from faults.small_scans import box, model, predictor, write_many

THREADS, PROCESSES, SCANS = 64, 8, 32
LEAST_WARM = 200  # scans before memory is looked at
MOST_GROWTH = 16 * 2**20
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from faults.small_scans import box
from embedded_vit.predict.predictor import Predictor
predictor, scans = Predictor.load(sys.argv[1], threads=1), Path(sys.argv[2])
for number in map(int, sys.argv[3:]):
    mask = predictor.predict(scans / f"{number}.nii.gz").mask
    print(number, np.array_equal(mask.array.astype(bool), box(number) > 0))
"""


def threads_at_once(count: int, folder: Path) -> Outcome:
    """Let threads predict; each compares its mask with its own scan.

    Memory is compared over the second half: in the first one the allocator fills an arena for each thread.
    """
    outcome, find, scans = Outcome(), predictor(folder), write_many(folder / "scans", SCANS)

    def right(number: int) -> bool:
        mask = find.predict(scans / f"{number % SCANS}.nii.gz").mask
        return np.array_equal(mask.array.astype(bool), box(number % SCANS) > 0)

    with ThreadPoolExecutor(THREADS) as pool:
        warm = min(count, max(LEAST_WARM, count // 2))
        for number, good in enumerate(pool.map(right, range(warm))):
            outcome.count(good=good, message=f"scan {number}: the mask of another")
        before = resident_bytes()
        for number, good in enumerate(pool.map(right, range(count - warm)), start=warm):
            outcome.count(good=good, message=f"scan {number}: the mask of another")
    grown = resident_bytes() - before
    outcome.note = f"memory {grown / 2**20:+.1f} MiB over the last {count - warm:,} scans" if count > warm else ""
    if grown > MOST_GROWTH:
        outcome.failed += 1
        outcome.messages.append(f"memory grew by {grown / 2**20:.1f} MiB over {count - warm} scans")
    return outcome


def processes_at_once(count: int, folder: Path) -> Outcome:
    """Let processes predict the same scans with the same model file."""
    outcome, artifact, scans = Outcome(), model(folder), write_many(folder / "scans", SCANS)
    numbers = [str(number % SCANS) for number in range(max(1, count // PROCESSES))]
    command = [sys.executable, "-c", PROGRAM, str(artifact), str(scans), *numbers]
    running = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for process in running:
        lines = process.communicate()[0].splitlines()
        for number in range(len(numbers)):
            good = number < len(lines) and lines[number] == f"{numbers[number]} True"
            outcome.count(good=good, message=f"scan {numbers[number]}: {lines[number : number + 1]}")
    return outcome


def soaked(seconds: int, folder: Path) -> Outcome:
    """Predict in a loop for so many seconds; memory stays flat."""
    import time

    outcome, find, scans = Outcome(), predictor(folder), write_many(folder / "scans", SCANS)
    began, before = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        number = outcome.tried % SCANS
        mask = find.predict(scans / f"{number}.nii.gz").mask
        right = np.array_equal(mask.array.astype(bool), box(number) > 0)
        outcome.count(good=right, message=f"scan {number}: another mask")
        if not before and time.monotonic() - began > seconds / 10:
            before = resident_bytes()
    grown = resident_bytes() - before
    outcome.note = f"memory {grown / 2**20:+.1f} MiB in {seconds} s"
    if grown > MOST_GROWTH:
        outcome.failed += 1
        outcome.messages.append(outcome.note)
    return outcome
