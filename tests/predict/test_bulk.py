"""Prediction with several workers: no kill loses anything, and a case that ends workers is passed over."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from embedded_vit.errors import ConfigError, InputError, OutputError
from embedded_vit.io.file_lock import file_lock
from embedded_vit.predict import Crew, Listener, Tally, predict_in_bulk
from embedded_vit.predict.bulk.case import Answer, Case
from embedded_vit.predict.bulk.case_queue import MANIFEST, CaseQueue
from embedded_vit.predict.bulk.driver import Driver
from embedded_vit.predict.bulk.running import LOCK, cases_of, run_cases, scans_in
from embedded_vit.predict.bulk.worker import Worker, WorkerSetup
from embedded_vit.predict.bulk.workers import InThisProcess, Workers
from embedded_vit.predict.one_scan import ScanWriter
from embedded_vit.predict.predictor import Predictor
from embedded_vit.predict.results import Results

MakeArtifact = Callable[..., Path]
SCANS = 5
CREW = Crew(workers=2, threads=1)
pytestmark = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(SCANS):
        array = np.full((32, 32, 4), -1000, np.int16)
        array[8:16, 8 : 16 + number, 1:3] = 400
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1, 3, 1])), folder / f"{number}.nii.gz")
    return folder


def names(folder: Path) -> list[str]:
    """What a folder holds without the list, the table and the previews."""
    beside = (MANIFEST, LOCK, "volumes.csv", "_preview.png")
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(beside))


def expected(*numbers: int) -> list[str]:
    return sorted(f"{number}{suffix}" for number in numbers for suffix in (".json", ".nii.gz"))


def rows(out: Path) -> dict[str, tuple[str, int, int]]:
    with sqlite3.connect(out / MANIFEST) as file:
        return {
            name: tuple(rest) for name, *rest in file.execute("SELECT output, state, crashes, interrupted FROM cases")
        }


def stop(*_: object) -> None:
    raise KeyboardInterrupt


class Ward(Workers):
    """Workers that are calls, two at a time; whoever has a case that is to crash ends."""

    def __init__(self, writer: ScanWriter, crashes: dict[str, int], *, stop_at: int = 10**9) -> None:
        self._one = InThisProcess(writer)
        self._crashes = crashes
        self._answers: list[Answer] = []
        self._started = 0
        self._stop_at = stop_at
        self.given: list[str] = []

    def wanted(self) -> int:
        return 2

    def start(self) -> int:
        self._started += 1
        self._answers.append(Answer(self._started, "ready"))
        return self._started

    def give(self, worker: int, case: Case) -> None:
        if len(self.given) == self._stop_at:
            raise KeyboardInterrupt
        name = case.scan.name
        self.given.append(name)
        if self._crashes.get(name, 0) > 0:
            self._crashes[name] -= 1
            self._answers.append(Answer(worker, "ended", reason="SIGSEGV"))
            return
        self._one.give(worker, case)
        self._answers += self._one.wait()

    def wait(self) -> list[Answer]:
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        pass


class House:
    """A folder of scans, an artifact and an output; runs the queue over workers that crash as they are told."""

    def __init__(self, artifact: Path, scans: Path) -> None:
        self.predictor = Predictor.load(artifact, threads=1)
        self.scans, self.out = scans, scans.with_name("out")
        self.out.mkdir()
        self.failures: list[str] = []
        self.tallies: list[Tally] = []

    def run(self, crashes: dict[str, int] | None = None, *, stop_at: int = 10**9) -> list[str]:
        listener = Listener(on_failure=lambda error: self.failures.append(str(error)), on_tally=self.tallies.append)
        results = Results()
        writer = ScanWriter(self.predictor, False, None, None, listener, results)
        ward = Ward(writer, crashes or {}, stop_at=stop_at)
        cases = cases_of(scans_in(self.scans, ("CT",), self.out, listener), self.scans, self.out, results)
        queue = CaseQueue(self.out, self.out / MANIFEST, self.predictor.model_sha256)
        try:
            run_cases(self.scans, self.out, cases, queue, ward, listener, results)
        except KeyboardInterrupt:
            pass
        finally:
            queue.close()
        return ward.given


@pytest.fixture
def house(make_artifact: MakeArtifact, scans: Path) -> House:
    return House(make_artifact(), scans)


def test_a_case_that_ends_two_workers_is_done_at_the_third_time(house: House) -> None:
    given = house.run({"1": 2})
    assert given.count("1") == 3
    assert len(given) == SCANS + 2
    assert names(house.out) == expected(*range(SCANS))
    assert (house.failures, house.tallies[-1].done) == ([], SCANS)


def test_a_case_that_ends_three_workers_is_recorded_and_passed_over_until_its_file_changes(house: House) -> None:
    with pytest.raises(InputError, match=rf"1 of {SCANS} scans failed; {SCANS - 1} masks"):
        house.run({"1": 99})
    assert names(house.out) == expected(0, 2, 3, 4)
    assert rows(house.out)["1.nii.gz"][:2] == ("passed over", 3)
    assert "its worker ended 3 times, the last time by SIGSEGV" in house.failures[0]
    with pytest.raises(InputError):
        house.run()  # the same again: nobody gets it
    assert names(house.out) == expected(0, 2, 3, 4)
    assert "in an earlier run" in house.failures[1]
    os.utime(house.scans / "1.nii.gz", ns=(1, 1))
    assert house.run() == ["1"]
    assert names(house.out) == expected(*range(SCANS))


def test_what_was_running_when_the_driver_was_gone_comes_last(house: House) -> None:
    house.run(stop_at=2)
    states = rows(house.out)
    in_flight = [name for name, row in states.items() if row[0] == "running"]
    assert in_flight
    done = [name for name, row in states.items() if row[0] == "done"]
    given = house.run()
    assert len(given) == SCANS - len(done)
    assert sorted(f"{name}.nii.gz" for name in given[-len(in_flight) :]) == sorted(in_flight)
    assert names(house.out) == expected(*range(SCANS))
    assert house.run() == []  # nothing is asked of workers any more
    (house.out / "3.nii.gz").unlink()
    assert house.run() == ["3"]


def test_a_mask_that_a_lost_worker_finished_is_not_made_again(house: House) -> None:
    house.run()
    with sqlite3.connect(house.out / MANIFEST) as file:
        file.execute("UPDATE cases SET state = 'running' WHERE output = '2.nii.gz'")
    before = (house.out / "2.nii.gz").stat().st_mtime_ns
    assert house.run() == ["2"]
    assert (house.out / "2.nii.gz").stat().st_mtime_ns == before
    assert house.tallies[-1].there == SCANS


def test_a_manifest_of_another_model_or_a_damaged_one_is_one_line(house: House, tmp_path: Path) -> None:
    house.run()
    with pytest.raises(OutputError, match="is of a run of model"):
        CaseQueue(house.out, house.out / MANIFEST, "0" * 64)
    content = bytearray((house.out / MANIFEST).read_bytes())
    content[100:3000] = b"\xff" * 2900
    (house.out / MANIFEST).write_bytes(content)
    with pytest.raises(OutputError, match=r"damaged.*remove it"):
        house.run()
    (house.out / MANIFEST).write_bytes(b"not a database, but long enough to look like one" * 99)
    with pytest.raises(OutputError, match=r"damaged.*remove it"):
        house.run()
    (house.out / MANIFEST).unlink()
    assert len(house.run()) == SCANS
    assert house.tallies[-1].there == SCANS


def test_workers_that_never_load_the_model_stop_the_run(house: House) -> None:
    class Broken(Ward):
        def start(self) -> int:
            self._started += 1
            self._answers.append(Answer(self._started, "ended", reason="SIGILL"))
            return self._started

    writer = ScanWriter(house.predictor, False, None, None, Listener(), Results())
    cases = cases_of(scans_in(house.scans, ("CT",), house.out, Listener()), house.scans, house.out, Results())
    queue = CaseQueue(house.out, None, "0")
    assert queue.add(cases, lambda case: True) == []
    with pytest.raises(InputError, match=r"workers ended before they had loaded the model, the last by SIGILL"):
        Driver(queue, Broken(writer, {}), Listener()).run()


def test_a_worker_refuses_another_version_and_another_model(make_artifact: MakeArtifact) -> None:
    setup = WorkerSetup(make_artifact(), "0" * 64, "onnxruntime", 1, False, None, None, Results(), 1)
    with pytest.raises(OutputError, match="model file was changed"):
        Worker(0, setup)
    with pytest.raises(OutputError, match=r"version 9\.9"):
        Worker(0, WorkerSetup(*list(vars(setup).values())[:-1], version="9.9"))


def test_what_cannot_be_shared_is_refused(make_artifact: MakeArtifact, scans: Path) -> None:
    artifact, out = make_artifact(), scans.with_name("out")
    with pytest.raises(InputError, match="not a folder"):
        predict_in_bulk(artifact, scans / "0.nii.gz", out, crew=CREW)
    with pytest.raises(OutputError, match="into a folder"):
        predict_in_bulk(artifact, scans, out / "mask.nii.gz", crew=CREW)
    with pytest.raises(ConfigError, match="at least 1"):
        predict_in_bulk(artifact, scans, out, crew=Crew(workers=0))
    assert not out.exists()
    out.mkdir()
    with file_lock(out / LOCK) as held:
        assert held
        with pytest.raises(OutputError, match="another run writes there"):
            predict_in_bulk(artifact, scans, out, crew=CREW)


def command(artifact: Path, scans: Path, out: Path) -> list[str]:
    verb = [sys.executable, "-m", "embedded_vit", "predict", str(artifact), str(scans), "-o", str(out)]
    return [*verb, "--workers", "2", "--threads", "1", "--progress", "json"]


def children_of(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_killed_driver_takes_its_workers_along_and_the_next_run_goes_on(
    make_artifact: MakeArtifact, scans: Path
) -> None:
    artifact, out = make_artifact(), scans.with_name("out")
    process = subprocess.Popen(command(artifact, scans, out), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:  # until the first case is done
        event = json.loads(line)
        assert event["event"] == "progress", event
        if event["workers"]:
            break
    workers = children_of(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    for _ in range(100):
        alive = [worker for worker in workers if worker in children_of(1) or Path(f"/proc/{worker}").exists()]
        if not alive:
            break
        time.sleep(0.1)
    assert not alive
    done = subprocess.run(command(artifact, scans, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert names(out) == expected(*range(SCANS))
    assert done.stdout.split() == [str(out / f"{number}.nii.gz") for number in range(SCANS)]
    last = json.loads(done.stderr.splitlines()[-1])
    assert {row[0] for row in rows(out).values()} == {"done"}
    assert last["event"] in ("progress", "remark")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_killed_worker_is_replaced_and_a_bad_scan_stops_nothing(make_artifact: MakeArtifact, scans: Path) -> None:
    (scans / "bad.nii.gz").write_bytes(b"no scan")
    out, failures, tallies, killed = scans.with_name("out"), [], [], []

    def kill_one(tally: Tally) -> None:
        tallies.append(tally)
        if tally.running and not killed:
            killed.append(next(child for child in children_of(os.getpid()) if b"spawn_main" in cmdline(child)))
            os.kill(killed[0], signal.SIGKILL)

    listener = Listener(on_failure=lambda error: failures.append(str(error)), on_tally=kill_one)
    with pytest.raises(InputError, match=r"1 of 6 scans failed; 5 masks"):
        predict_in_bulk(make_artifact(), scans, out, crew=CREW, listener=listener)
    assert killed
    assert names(out) == expected(*range(SCANS))
    assert len(failures) == 1
    assert "bad.nii.gz" in failures[0]
    assert (tallies[-1].done, tallies[-1].failed, tallies[-1].running) == (SCANS, 1, 0)
    assert tallies[-1].cases_per_minute > 0


def cmdline(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
