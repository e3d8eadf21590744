"""How far prediction in bulk goes: measured with 1 and 2 workers here, simulated from measured times on many machines.

    python benchmarks/scale.py [--model abdomen-ct-fast] [--cases 8] [--slices 60] [--nodes 1 10 100]

Measures on this machine: the throughput of `predict --workers 1` and `--workers 2` on generated scans of 512 x 512; the
seconds of each case by reading and by segmenting; the seconds of the driver a case, with workers that do nothing. Then
a discrete-event simulation lets many machines, each with two workers, draw cases from one driver and read and write
through one storage, and names what is busiest. Its only assumptions are the storage's rates.
"""

from __future__ import annotations

import argparse
import heapq
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from footnote import footnote

from embedded_vit.builtin.resolve import model_path
from embedded_vit.columns import in_columns
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.io.channels import FoundScan
from embedded_vit.io.nifti import write_volume
from embedded_vit.predict.bulk.case import Answer, Case
from embedded_vit.predict.bulk.case_queue import MANIFEST, CaseQueue
from embedded_vit.predict.bulk.driver import Driver
from embedded_vit.predict.bulk.workers import Workers
from embedded_vit.predict.listener import Listener
from embedded_vit.predict.predictor import Predictor

WORKERS_A_NODE = 2
DRIVER_CASES = 3000
STORAGES = {"1 Gbit/s": 110e6, "10 Gbit/s": 1.1e9, "25 Gbit/s": 2.7e9}  # bytes a second that arrive
CASES_A_WORKER = 40  # of a simulation; more do not change its rates


@dataclass(frozen=True)
class Times:
    """What was measured of one case.

    Attributes:
        reading, segmenting: Seconds of one worker.
        bytes_moved: Of the scan's file and its mask.
    """

    reading: float
    segmenting: float
    bytes_moved: int


class Nobody(Workers):
    """Workers that have done every case at once, so that only the driver takes time."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._started = 0
        self._answers: list[Answer] = []

    def wanted(self) -> int:
        """Return as many as there are on a hundred nodes."""
        return self._workers

    def start(self) -> int:
        """Start at once."""
        self._started += 1
        self._answers.append(Answer(self._started, "ready"))
        return self._started

    def give(self, worker: int, case: Case) -> None:
        """Do the case at once."""
        self._answers.append(Answer(worker, "done", 1.0))

    def wait(self) -> Sequence[Answer]:
        """Return the first answer, as most come alone."""
        return [self._answers.pop(0)]

    def close(self) -> None:
        """There is nothing to end."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="abdomen-ct-fast")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--slices", type=int, default=60)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 100, 300])
    arguments = parser.parse_args()
    print(footnote())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans = write_scans(folder / "scans", arguments.cases, arguments.slices)
        print_measured(arguments.model, scans, folder)
        times = measured_times(model_path(arguments.model), sorted(scans.iterdir()), folder)
        driver = driver_seconds(folder)
    reading = sum(case.reading for case in times) / len(times)
    segmenting = sum(case.segmenting for case in times) / len(times)
    moved = sum(case.bytes_moved for case in times) / len(times)
    print(
        f"\nA case, one worker alone: reading {reading:.2f} s, segmenting {segmenting:.2f} s, {moved / 1e6:.1f} MB "
        f"moved; driver {driver * 1e3:.2f} ms\n"
    )
    rows = [
        simulated(nodes, times, driver, storage, rate)
        for storage, rate in STORAGES.items()
        for nodes in arguments.nodes
    ]
    head = ("storage", "nodes", "cases a minute", "of linear, %", "driver, %", "storage, %", "limit")
    print("\n".join(in_columns([head, *rows])))


def write_scans(folder: Path, cases: int, slices: int) -> Path:
    """Write scans of generated patients."""
    folder.mkdir()
    for number in range(cases):
        volume, _ = make_phantom(number, settings=PhantomSettings(size=512, slices=slices))
        write_volume(folder / f"case{number}.nii.gz", volume.reoriented("RAS"))
    return folder


def print_measured(model: str, scans: Path, folder: Path) -> None:
    """Print the throughput of the verb with 1 and 2 processes, starts included."""
    cases, alone = len(list(scans.iterdir())), 0.0
    rows = []
    for workers in (1, 2):
        out = folder / f"out{workers}"
        command = [sys.executable, "-m", "embedded_vit", "predict", model, str(scans), "--output", str(out), "--force"]
        began = time.perf_counter()
        subprocess.run(
            [*command, "--workers", str(workers), "--threads", "1"], check=True, capture_output=True, text=True
        )
        seconds = time.perf_counter() - began
        alone = alone or seconds
        rows.append((str(workers), f"{seconds:.1f}", f"{60 * cases / seconds:.1f}", f"{alone / seconds:.2f}"))
    print("\n".join(in_columns([("workers", "seconds", "cases a minute", "speed-up"), *rows])))


def measured_times(model: Path, scans: Sequence[Path], folder: Path) -> list[Times]:
    """Segment each scan alone, with one thread."""
    predictor = Predictor.load(model, threads=1)
    found = []
    for scan in scans:
        prediction = predictor.predict(scan, force=True)
        mask = folder / "timed" / scan.name
        prediction.save(mask, overwrite=True)
        moved = scan.stat().st_size + mask.stat().st_size
        found.append(Times(prediction.seconds["reading"], prediction.seconds["segmenting"], moved))
    return found


def driver_seconds(folder: Path) -> float:
    """Measure the driver's own time a case, its queue on this disk, with as many workers as a hundred nodes have."""
    out = folder / "driver"
    out.mkdir()
    scan = folder / "scan"
    cases = [
        Case(number, FoundScan(scan, (scan,), str(number)), out / str(number % 100) / f"{number}.nii.gz")
        for number in range(DRIVER_CASES)
    ]
    queue = CaseQueue(out, out / MANIFEST, "0" * 64)
    began = time.perf_counter()
    queue.add(cases, lambda _: False)
    Driver(queue, Nobody(100 * WORKERS_A_NODE), Listener()).run()
    seconds = (time.perf_counter() - began) / DRIVER_CASES
    queue.close()
    return seconds


def simulated(
    nodes: int, times: Sequence[Times], driver_s: float, storage: str, bytes_a_second: float
) -> tuple[str, ...]:
    """Let all workers draw cases until enough are done; return a row of the table.

    A case waits for the driver, then for the storage (which serves one request after another), then computes on its
    worker, and waits for the driver again, which notes it and gives the next. Reading and computing take what they took
    here.
    """
    draw = random.Random(0)
    workers = nodes * WORKERS_A_NODE
    cases = workers * CASES_A_WORKER
    driver_free = storage_free = driver_busy = storage_busy = computing = 0.0
    waiting = [(draw.random(), worker) for worker in range(workers)]  # when each worker asks for a case
    heapq.heapify(waiting)
    for _ in range(cases):
        asked, worker = heapq.heappop(waiting)
        driver_free = max(driver_free, asked) + driver_s
        driver_busy += driver_s
        case = draw.choice(times)
        moving = case.bytes_moved / bytes_a_second
        storage_free = max(storage_free, driver_free) + moving
        storage_busy += moving
        compute = case.reading + case.segmenting
        computing += compute
        heapq.heappush(waiting, (storage_free + compute, worker))
    last = max(end for end, _ in waiting)
    rate = 60 * cases / last
    linear = 60 * workers * cases / computing
    shares = {"driver": driver_busy / last, "storage": storage_busy / last, "workers": computing / last / workers}
    limit = max(shares, key=lambda name: shares[name])
    percent = [f"{100 * shares[name]:.0f}" for name in ("driver", "storage")]
    return storage, str(nodes), f"{rate:.0f}", f"{100 * rate / linear:.0f}", *percent, limit


if __name__ == "__main__":
    main()
