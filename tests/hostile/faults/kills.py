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
from pathlib import Path

from embedded_vit.io.atomic import TEMPORARY
from faults.killed_stages import Result, Run, compression, searching, whole_build
from faults.row import Outcome, environment

MOST_KILLS = 20  # of one run; then it may end
KILLS_A_SAVE = 10  # of so many kills one meets a file that is being written
IMPORTS_DO_NOT_COUNT = 10.0  # seconds of a run


def killed(kind: str, count: int, folder: Path) -> Outcome:
    """Run this module in a process that has no threads, and so may be forked."""
    command = [sys.executable, "-m", "faults.kills", kind, str(count), str(folder)]
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
        "architecture": {"image_size": 32, "widths": (8, 16), "depth": 1},
        "training": TrainingConfig.for_recipe("modern", epochs=3, batch_size=8),
        "context_slices": None,
    }

    def run(out: Path) -> None:
        train_once(data_set, out, split, asked, threads=1)

    def result(out: Path) -> dict[str, object]:
        hidden = [path.name for path in out.rglob(".*")]
        return {"hidden files": hidden, "weights": (out / "model.safetensors").read_bytes()}

    return run, result


def forked(run: Callable[[Path], None], out: Path, seconds: float | None, *, in_a_save: bool = False) -> bool:
    """Run in a child, kill it after so many seconds, or then as soon as it saves; return whether it was killed."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            run(out)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) != 0:
                raise AssertionError(f"{out.name}: ended with {status}")
            return False
        if end is not None and time.monotonic() >= end and (not in_a_save or is_saving(out)):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return True
        time.sleep(0.001)


def is_saving(out: Path) -> bool:
    """Whether a file is being written that will get its name when it is whole."""
    return any(TEMPORARY.match(name) for _, _, names in os.walk(out) for name in names)


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
    outcome, draw = Outcome(), random.Random(0)
    whole_seconds = whole_run(run, folder / "whole")
    expected = result(folder / "whole")
    number = 0
    while outcome.tried < count:
        out, kills, wrong = folder / f"run{number}", 0, ""
        number += 1
        try:
            most = min(MOST_KILLS, count - outcome.tried)
            while forked(
                run,
                out,
                draw.uniform(0.0, whole_seconds) if kills < most else None,
                in_a_save=kills % KILLS_A_SAVE == KILLS_A_SAVE - 1,
            ):
                kills += 1
            others = {name: value for name, value in result(out).items() if value != expected[name]}
            wrong = " and ".join(f"other {name}: {value!r:.120}" for name, value in others.items())
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        for _ in range(max(1, kills)):
            outcome.count(good=not wrong, message=f"{kind}, run {number} with {kills} kills: {wrong}")
        shutil.rmtree(out, ignore_errors=True)
    sys.stdout.write(json.dumps(vars(outcome)) + "\n")


if __name__ == "__main__":
    main()
