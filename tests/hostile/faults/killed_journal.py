"""A search that is killed at each write to its journal: before it, in its middle, and while its lock is given back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from faults.killed_stages import counted_trials
from faults.kills import child, of_module
from faults.row import Outcome

HOW = ("before", "in the middle of", "with the lock half given back after")
TRIALS, PATIENCE_SECONDS = 3, 3  # until the lock of a dead process is taken; 30 in a search


def killed_at_each_write(count: int, folder: Path) -> Outcome:
    """Run this module in a process that has no threads, and so may be forked."""
    return of_module("killed_journal", "search", count, folder)


def small_search(folder: Path) -> Callable[[Path], None]:
    """Return a search whose trials are neither measured nor trained."""
    from search_fixtures import ScriptedMeter

    from embedded_vit.datasets import PhantomSettings, write_phantoms
    from embedded_vit.search import record, searching, study
    from embedded_vit.search.space import Budget, SearchSettings

    def tried(self: Any, number: int, candidate: Any, before: Any) -> record.TrialRecord:
        del self, before
        figures = {"macs": 10**6, "parameters": 10, "latency_ms": 2.0, "measured_ms": 2.0, "reference_ms": 1.0}
        known = {"number": number, "candidate": candidate, "seed": 0, "machine": "", "seconds": 0.0, **figures}
        trained = {"state": "trained", "validation_dice": 0.5} if number % 2 else {"state": "over budget"}
        return record.TrialRecord(**known, **trained)  # type: ignore[arg-type]

    lock: Any = study._SymlinkLock
    for module, name, value in (
        (searching._Searcher, "_tried", tried),
        (searching, "LatencyMeter", ScriptedMeter),
        (record, "_figure", lambda _: SimpleNamespace(savefig=lambda path, **_: path.touch())),
        (study, "_SymlinkLock", partial(lock, grace_period=PATIENCE_SECONDS)),
    ):
        setattr(module, name, value)
    write_phantoms(folder / "data", 3, layout="decathlon", settings=PhantomSettings(size=32, slices=8), seed=1)
    settings = SearchSettings(budget=Budget.read("macs=1e5"), family="unet", threads=1, validation_cases=1)
    return lambda out: searching.search(folder / "data", out, settings=settings, trials=TRIALS) and None


def die(*_: object) -> NoReturn:
    """End this process as SIGKILL ends it."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("alive")


def killing_writes(write: int, how: int) -> list[int]:
    """Let this process die at its n-th write to a journal; return a list of as many zeros as it has written."""
    from optuna.storages.journal import JournalFileBackend

    append, writes = JournalFileBackend.append_logs, []

    def counted(self: Any, logs: list[dict[str, Any]]) -> None:
        writes.append(0)
        if len(writes) == write and how == 0:
            die()
        if len(writes) == write and how == 1:
            self._lock.acquire()
            line = json.dumps(logs[0]).encode()
            with open(self._file_path, "ab") as file:
                file.write(line[: len(line) // 2])
            die()
        if len(writes) == write:
            os.unlink = die  # type: ignore[assignment]
        append(self, logs)

    JournalFileBackend.append_logs = counted  # type: ignore[method-assign]
    return writes


def writes_of(run: Callable[[Path], None], out: Path, write: int = 0, how: int = 0) -> int | None:
    """Search in a child that dies at a write; return how many writes it made, None where it died.

    Raises:
        AssertionError: It ended with an error.
    """

    def search() -> None:
        writes = killing_writes(write, how)
        run(out)
        out.with_suffix(".writes").write_text(str(len(writes)))

    _, status = os.waitpid(child(search), 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    assert status == 0, f"ended with {status}"
    return int(out.with_suffix(".writes").read_text())


def main() -> None:
    """Kill at as many moments as are asked for, evenly over the search."""
    count, folder = int(sys.argv[2]), Path(sys.argv[3])
    run, whole, out = small_search(folder), folder / "whole", folder / "killed"
    writes = writes_of(run, whole)
    assert writes is not None
    names, outcome = sorted(path.name for path in whole.iterdir()), Outcome()
    moments = [(write, how) for write in range(1, writes + 1) for how in range(len(HOW))]
    step = max(1, len(moments) // count)
    for write, how in moments[:: step - (step % len(HOW) == 0)]:  # so that every way to die has its share
        shutil.rmtree(out, ignore_errors=True)
        try:
            assert writes_of(run, out, write, how) is None, "it was not killed"
            writes_of(run, out)
            left = sorted(path.name for path in out.iterdir())
            wrong = counted_trials(out, TRIALS) + ([f"other files: {left}"] if left != names else [])
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"]
        outcome.count(good=not wrong, message=f"killed {HOW[how]} write {write} of {writes}: {' and '.join(wrong)}")
    sys.stdout.write(json.dumps(vars(outcome)) + "\n")


if __name__ == "__main__":
    main()
