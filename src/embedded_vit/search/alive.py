"""Which trials are at work: by locks on files, or by beats where machines share no more than a data base.

OUTPUT/locks/0003        held by the process that works on trial 3; the system frees it when that process dies
OUTPUT/search.lock       held for moments, while a process draws a trial or takes up those of dead processes
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol

import optuna
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from embedded_vit.io.atomic import output_errors
from embedded_vit.io.file_lock import file_lock
from embedded_vit.search.database import Database

__all__ = ["Beats", "FileLocks", "SignsOfLife", "next_trial", "taken_trials", "trial_lock", "try_again_what_died"]

LOCKS, DRAWING = "locks", "search.lock"
WAIT_SECONDS = 0.05  # between two looks at a lock that another process holds for moments
BEAT = "beat"  # attribute of a trial: a number that grows while a process works on it
BEAT_SECONDS = 15.0
PATIENCE_SECONDS = 120.0  # without a beat; then the process is taken for dead


class SignsOfLife(Protocol):
    """How processes see which trials are at work."""

    def alone(self) -> AbstractContextManager[bool]:
        """Keep other processes from drawing trials; whether that can be done here."""

    def hold(self, trial: Trial) -> AbstractContextManager[object]:
        """Show that this process works on a trial."""

    def is_dead(self, trial: FrozenTrial, *, alone: bool) -> bool:
        """Whether the process has died that works on a trial."""

    def others(self, study: optuna.Study) -> list[int]:
        """Return the trials of other processes that are worth waiting for at the end of a search."""


class FileLocks:
    """Signs of life of processes that share a folder.

    Args:
        folder: The folder of the search.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """See `SignsOfLife`; there is no lock on some file systems.

        Raises:
            OutputError: The folder cannot be written.
        """
        while True:
            with ExitStack() as stack:
                held = _locked(stack, self._folder / DRAWING)
                if held is not False:
                    yield bool(held)
                    return
            time.sleep(WAIT_SECONDS)

    def hold(self, trial: Trial) -> AbstractContextManager[object]:
        """See `SignsOfLife`."""
        return trial_lock(self._folder, trial.number)

    def is_dead(self, trial: FrozenTrial, *, alone: bool) -> bool:
        """See `SignsOfLife`; who works on a trial locked it before others could draw."""
        if not (self._folder / LOCKS / f"{trial.number:04d}").exists():
            return alone
        with trial_lock(self._folder, trial.number) as locked:
            return locked

    def others(self, study: optuna.Study) -> list[int]:
        """See `SignsOfLife`; the same command in the same folder takes up what died."""
        del study
        return []


@contextmanager
def trial_lock(folder: Path, number: int) -> Iterator[bool]:
    """Hold a trial's lock; yield False where another process holds it, or the file system has no locks.

    Raises:
        OutputError: The folder cannot be written.
    """
    with ExitStack() as stack:
        yield bool(_locked(stack, folder / LOCKS / f"{number:04d}"))


def _locked(stack: ExitStack, path: Path) -> bool | None:
    """Hold a lock until the stack is left, as `file_lock` does."""
    with output_errors(path):
        path.parent.mkdir(exist_ok=True)
        return stack.enter_context(file_lock(path))


class Beats:
    """Signs of life of processes that share a data base.

    A number in the data base grows while a process works on a trial. Who has seen the same number for a while takes the
    process for dead. So no clocks are compared.

    Args:
        database: What they share.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[int, tuple[object, float]] = {}  # trial -> its beat, and since when

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """See `SignsOfLife`."""
        with self._database.alone():
            yield True

    @contextmanager
    def hold(self, trial: Trial) -> Iterator[None]:
        """See `SignsOfLife`."""
        over = Event()
        thread = Thread(target=_beat, args=(trial, over), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def is_dead(self, trial: FrozenTrial, *, alone: bool) -> bool:
        """See `SignsOfLife`."""
        del alone
        beat, now = trial.user_attrs.get(BEAT), time.monotonic()
        before, since = self._seen.get(trial.number, (None, now))
        if trial.number not in self._seen or beat != before:
            self._seen[trial.number] = (beat, now)
            return False
        return now - since > PATIENCE_SECONDS

    def others(self, study: optuna.Study) -> list[int]:
        """See `SignsOfLife`."""
        return [trial.number for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))]


def _beat(trial: Trial, over: Event) -> None:
    """Let a trial's number grow; a data base that cannot be reached for a while is tried again."""
    number = 0
    while True:
        number += 1
        with suppress(SQLAlchemyError, OptunaError, OSError):
            trial.set_user_attr(BEAT, number)
        if over.wait(BEAT_SECONDS):
            return


def taken_trials(study: optuna.Study) -> int:
    """Count the trials that are done or that a process works on."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)))


@contextmanager
def next_trial(study: optuna.Study, signs: SignsOfLife, trials: int) -> Iterator[Trial | None]:
    """Draw a trial and hold it while the `with` statement runs; None where all `trials` are taken."""
    with ExitStack() as stack:
        with signs.alone():
            trial = None
            if taken_trials(study) < trials:
                trial = study.ask()
                stack.enter_context(signs.hold(trial))
        yield trial


def try_again_what_died(study: optuna.Study, signs: SignsOfLife) -> list[FrozenTrial]:
    """Close the trials whose process has died, and queue their candidates, before anything new is drawn.

    Returns:
        The closed trials.
    """
    dead = []
    with signs.alone() as alone:
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if signs.is_dead(trial, alone=alone):
                with suppress(ValueError, OptunaError):  # it was over just now
                    study.tell(trial.number, state=TrialState.FAIL)
                    dead.append(trial)
        if alone or dead:
            _queue_what_failed(study)
    return dead


def _queue_what_failed(study: optuna.Study) -> None:
    """Queue the candidate of each closed trial that nobody has queued: who closes a trial may be killed too."""
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial.state != TrialState.FAIL or not (wanted := _wanted(trial)):
            continue
        later = [_queued(each) for each in trials[trial.number + 1 :]]
        if wanted not in later and trial.params not in later:  # older versions queued what was drawn
            study.enqueue_trial(wanted)


def _queued(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return what a trial was queued with; None where it was drawn."""
    queued: dict[str, Any] | None = trial.system_attrs.get("fixed_params")
    return queued


def _wanted(trial: FrozenTrial) -> dict[str, Any]:
    """Return the candidate of a trial: what it was queued with, and what was drawn before it died."""
    return {**(_queued(trial) or {}), **trial.params}
