"""Four processes on one search in a data base, one of which is killed in its first trial: run as a program.

    python shared_search.py ADDRESS DATA FOLDER TRIALS [--real]

prints a JSON object: what is wrong, and what the processes said. Without `--real` no network is trained.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from optuna.study import load_study
from search_fixtures import ScriptedMeter, wrong_trials

from embedded_vit.search import alive
from embedded_vit.search import searching as module
from embedded_vit.search.database import open_database
from embedded_vit.search.space import Budget, SearchSettings
from embedded_vit.search.study import NAME

WORKERS = 4
BEAT_SECONDS, PATIENCE_SECONDS = 0.2, 3.0
GIVEN = {"image_sizes": (32, 40), "context_slices": (1,), "validation_cases": 1}
SETTINGS = SearchSettings(budget=Budget.read("macs=2e7"), family="hybrid", threads=1, epochs=1, **GIVEN)


def not_trained(self: Any, number: int, *_: Any) -> dict[str, object]:
    """Stand for a training of a tenth of a second."""
    time.sleep(random.Random(number).uniform(0.0, 0.1))
    return {"state": "trained", "trained_epochs": 1, "validation_dice": random.Random(number).random()}


def worker(address: str, data: Path, folder: Path, trials: int, *, victim: bool) -> None:
    """Search in a folder of its own; a victim waits in its first trial until it is killed."""
    folder.mkdir()

    def hear(event: str) -> None:
        with open(folder / "events", "a") as file:
            file.write(f"{event}\n")
        if victim and event.startswith("trial"):
            time.sleep(600)

    module.search(data, folder / "search", settings=SETTINGS, trials=trials, storage=address, on_event=hear)


def started(address: str, data: Path, folder: Path, trials: int, *, victim: bool = False) -> int:
    """Start a worker; return its process."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        worker(address, data, folder, trials, victim=victim)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    address, data, folder, trials = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    module.LatencyMeter = ScriptedMeter  # type: ignore[assignment, misc]
    module.WAIT_SECONDS = 0.2
    alive.BEAT_SECONDS, alive.PATIENCE_SECONDS = BEAT_SECONDS, PATIENCE_SECONDS
    if "--real" not in sys.argv:
        module._Searcher._trained = not_trained  # type: ignore[method-assign, assignment]
    places = [folder / f"worker{number}" for number in range(WORKERS)]
    victim = started(address, data, places[0], trials, victim=True)
    while not (places[0] / "events").exists():
        time.sleep(0.02)
    others = [started(address, data, place, trials) for place in places[1:]]
    os.kill(victim, signal.SIGKILL)
    ends = [os.waitpid(process, 0)[1] for process in (victim, *others)]
    study = load_study(study_name=NAME, storage=open_database(address).storage)
    wrong = wrong_trials(study.trials, json.loads((places[1] / "search" / "search.json").read_text())["trials"], trials)
    wrong += [f"worker {number} ended with {end}" for number, end in enumerate(ends[1:], start=1) if end]
    states = [trial.state.name for trial in study.trials]
    events = "".join((place / "events").read_text() for place in places)
    found = {"wrong": wrong, "killed": ends[0], "failed": states.count("FAIL"), "events": events}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
