"""SIGKILL at any moment: the same call again ends with the same files, and nothing temporary is left."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from embedded_vit.io.atomic import TEMPORARY
from faults.killed_stages import Result, Run, compression, searching, whole_build
from faults.row import Outcome, environment

MOST_KILLS = 20  # of one run; then it may end
KILLS_A_SAVE = 10  # of so many kills one at least meets a file that is being written
MOST_IDLE = 20  # runs one after the other that end before they are killed
IMPORTS_DO_NOT_COUNT = 10.0  # seconds of a run


def killed(kind: str, count: int, folder: Path) -> Outcome:
    """Run this module in a process that has no threads, and so may be forked."""
    return of_module("kills", kind, count, folder)


def of_module(name: str, kind: str, count: int, folder: Path) -> Outcome:
    """Return the outcome that a module of the campaigns prints."""
    command = [sys.executable, "-m", f"faults.{name}", kind, str(count), str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return Outcome(1, 1, [f"{kind}: {done.stderr[-400:]!r}"])
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def bulk(folder: Path, apart: Callable[[Run, Path], None]) -> tuple[Run, Result]:
    """A prediction of six scans, with its list on the disk."""
    from embedded_vit.predict.bulk.case_queue import MANIFEST, CaseQueue
    from embedded_vit.predict.bulk.running import cases_of, run_cases, scans_in
    from embedded_vit.predict.bulk.workers import InThisProcess
    from embedded_vit.predict.listener import Listener
    from embedded_vit.predict.one_scan import ScanWriter
    from embedded_vit.predict.predictor import Predictor
    from embedded_vit.predict.results import Results
    from faults.small_scans import model, write_many

    del apart
    artifact, scans = model(folder / "model"), write_many(folder / "scans", 6)

    def run(out: Path) -> None:
        out.mkdir(exist_ok=True)
        find, results = Predictor.load(artifact, threads=1), Results()
        writer = ScanWriter(find, False, None, None, Listener(), results)
        queue = CaseQueue(out, out / MANIFEST, find.model_sha256)
        cases = cases_of(scans_in(scans, ("CT",), out, Listener()), scans, out, results)
        run_cases(scans, out, cases, queue, InThisProcess(writer), Listener(), results)
        queue.close()

    def result(out: Path) -> dict[str, object]:
        names = sorted(path.name for path in out.iterdir())
        return {"files": names, "masks": [path.read_bytes() for path in sorted(out.glob("*.nii.gz"))]}

    return run, result


def training(folder: Path, apart: Callable[[Run, Path], None]) -> tuple[Run, Result]:
    """A training of three epochs."""
    import torch

    from embedded_vit.datasets import PhantomSettings, make_split, open_data_set, write_phantoms
    from embedded_vit.training.settings import TrainingConfig
    from embedded_vit.training.training import train_once

    del apart
    torch.set_num_threads(1)
    write_phantoms(folder / "data", 3, layout="decathlon", settings=PhantomSettings(size=64, slices=8), seed=1)
    data_set = open_data_set(folder / "data")
    split = make_split(data_set, seed=0, validation_cases=1)
    asked = {
        "network": None,
        "architecture": {"image_size": 32, "family": "unet", "widths": (8, 16)},
        "training": TrainingConfig.for_recipe("modern", epochs=3, batch_size=8),
        "context_slices": None,
    }

    def run(out: Path) -> None:
        train_once(data_set, out, split, asked, threads=1)

    def result(out: Path) -> dict[str, object]:
        hidden = [path.name for path in out.rglob(".*")]
        return {"hidden files": hidden, "weights": (out / "model.safetensors").read_bytes()}

    return run, result


def child(work: Callable[[], None]) -> int:
    """Let a child of this process work, and print nothing but errors; return its number.

    Its exit status is 0 where the work was done, 1 after an error.
    """
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return process


def forked(run: Callable[[Path], None], out: Path, seconds: float | None, *, in_a_save: bool = False) -> bool | None:
    """Run in a child and kill it after so many seconds, or then as soon as it saves.

    Returns:
        Whether the kill left a file that was being written; None where the run ended before.
    """
    before = unfinished(out)
    process = child(partial(run, out))
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) != 0:
                raise AssertionError(f"{out.name}: ended with {status}")
            return None
        if end is not None and time.monotonic() >= end and (not in_a_save or unfinished(out) - before):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return bool(unfinished(out) - before)
        time.sleep(0.001)


def unfinished(out: Path) -> set[str]:
    """Return the files that will get their names when they are whole."""
    return {os.path.join(at, name) for at, _, names in os.walk(out) for name in names if TEMPORARY.match(name)}


def whole_run(run: Callable[[Path], None], out: Path) -> float:
    """Let a run end, again where imports and caches took much of its time; return the seconds that it took."""
    while True:
        shutil.rmtree(out, ignore_errors=True)
        began = time.monotonic()
        forked(run, out, None)
        seconds = time.monotonic() - began
        if seconds > IMPORTS_DO_NOT_COUNT or out.with_suffix(".warm").exists():
            return seconds
        out.with_suffix(".warm").touch()


KINDS = {
    "bulk": bulk,
    "training": training,
    "compression": compression,
    "build": whole_build,
    "search": searching,
}


def main() -> None:
    """Kill as often as is asked for, over as many runs as that takes."""
    kind, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    run, result = KINDS[kind](folder, lambda once, out: forked(once, out, None) and None)
    whole_seconds = whole_run(run, folder / "whole")
    expected = result(folder / "whole")
    outcome, draw, saves, number, idle = Outcome(), random.Random(0), 0, 0, 0
    while outcome.tried < count:
        out, kills, wrong = folder / f"run{number}", 0, ""
        most = min(MOST_KILLS, count - outcome.tried)
        try:
            while True:
                seconds = draw.uniform(0.0, whole_seconds) if kills < most else None
                in_a_save = saves < (outcome.tried + kills + 1) // KILLS_A_SAVE
                met = forked(run, out, seconds, in_a_save=in_a_save)
                if met is None:
                    break
                kills, saves = kills + 1, saves + met
            others = {name: value for name, value in result(out).items() if value != expected[name]}
            wrong = " and ".join(f"other {name}: {value!r:.120}" for name, value in others.items())
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        for _ in range(max(kills, int(bool(wrong)))):
            outcome.count(good=not wrong, message=f"{kind}, run {number} with {kills} kills: {wrong}")
        number, idle = number + 1, 0 if kills else idle + 1
        if idle > MOST_IDLE:
            raise AssertionError(f"{idle} runs ended before they could be killed")
        shutil.rmtree(out, ignore_errors=True)
    outcome.note = f"{saves} within a save"
    sys.stdout.write(json.dumps(vars(outcome)) + "\n")


if __name__ == "__main__":
    main()
