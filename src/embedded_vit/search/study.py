"""The journal of a search: one file that several processes or machines may write.

OUTPUT/search.journal    Optuna's journal; a trial's figures are its user attribute "record"
OUTPUT/locks/0003        held by the process that works on trial 3; the system frees it when that process dies
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from embedded_vit.boundary import one_line_errors
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.datasets.identity import data_content
from embedded_vit.errors import ConfigError, OutputError
from embedded_vit.io.file_lock import file_lock
from embedded_vit.search.space import SearchSettings, first_candidates

__all__ = ["JOURNAL", "data_identity", "open_study", "taken_trials", "trial_lock", "try_again_what_died"]

JOURNAL, LOCKS = "search.journal", "locks"
NAME = "embedded-vit search"


def open_study(folder: Path, settings: SearchSettings, data: str) -> optuna.Study:
    """Start a search in a folder, or join the one that the folder holds.

    Args:
        folder: The folder of the search.
        settings: The settings; those of the existing search, if there is one.
        data: The result of `data_identity`; that of the existing search, if there is one.

    Raises:
        ConfigError: The folder holds a search with other settings or other data.
        FileFormatError: The journal is damaged.
        OutputError: The folder cannot be created.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot create this folder: {error.strerror or error}") from error
    path = folder.resolve() / JOURNAL  # the lock does not work on a relative path
    lock = _journal_lock(path)
    _drop_unfinished_line(path, lock)
    with one_line_errors(path, what="not the journal of a search, or damaged", advice="choose another --output"):
        storage = JournalStorage(JournalFileBackend(str(path), lock))
        study = optuna.create_study(
            storage=storage, study_name=NAME, directions=["maximize", "minimize"], load_if_exists=True
        )
    asked = {"data": data, **settings.model_dump(mode="json"), "budget": str(settings.budget)}
    if "asked" not in study.user_attrs:
        study.set_user_attr("asked", asked)
        for known in first_candidates(settings.family) if settings.space is None else []:
            study.enqueue_trial(known, skip_if_exists=True)
    _refuse_another(folder, study.user_attrs["asked"], asked)
    return study


def _journal_lock(path: Path) -> JournalFileSymlinkLock | JournalFileOpenLock:
    """Choose the lock of a journal: a symbolic link, or a file where links are not allowed, as on Windows.

    Each kind of lock is refused while the other kind exists, so processes may choose differently.
    """
    trial = path.with_name(f".{secrets.token_hex(4)}")
    try:
        os.symlink(path, trial)
        trial.unlink()
    except (OSError, NotImplementedError):
        return JournalFileOpenLock(str(path))
    return JournalFileSymlinkLock(str(path))


def _drop_unfinished_line(path: Path, lock: JournalFileSymlinkLock | JournalFileOpenLock) -> None:
    """Cut off a last line that a full disk or a loss of power left unfinished; else the next line is unreadable."""
    if not path.exists():
        return
    lock.acquire()
    try:
        with open(path, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def _refuse_another(folder: Path, before: dict[str, object], asked: dict[str, object]) -> None:
    before = {"family": "dual", **before}  # the only one of older versions
    for name, value in asked.items():
        if before.get(name) == value:
            continue
        if name == "data":
            raise ConfigError(f"{folder}: holds a search on other data; choose another --output")
        option = "--" + name.replace("_", "-")
        raise ConfigError(
            f"{folder}: holds a search with {option} {_words(before.get(name))}, now {_words(value)}; "
            "give the same options to continue it, or choose another --output"
        )


def _words(value: object) -> str:
    """Return a setting as the command line takes it."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def data_identity(data_set: DataSet, split: Split) -> str:
    """Return a digest that identifies a data set in any folder: of its structures, split, and the files' content."""
    content = data_content(data_set, split.train + split.validation)
    described = [data_set.modality, data_set.channels, data_set.labels.names, split.model_dump(), content]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def taken_trials(study: optuna.Study) -> int:
    """Count the trials that are done or that a process works on."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)))


@contextmanager
def trial_lock(folder: Path, number: int) -> Iterator[bool]:
    """Hold a trial's lock; yield False where another process holds it, or the file system has no locks."""
    path = folder / LOCKS / f"{number:04d}"
    path.parent.mkdir(exist_ok=True)
    with file_lock(path) as locked:
        yield bool(locked)


def try_again_what_died(study: optuna.Study, folder: Path) -> list[FrozenTrial]:
    """Close the trials whose process has died, and queue their candidates, before anything new is drawn.

    Returns:
        The closed trials.
    """
    dead = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not (folder / LOCKS / f"{trial.number:04d}").exists():  # the trial is just starting
            continue
        with trial_lock(folder, trial.number) as locked:
            still_running = study.get_trials(deepcopy=False)[trial.number].state == TrialState.RUNNING
            if locked and still_running:
                study.tell(trial.number, state=TrialState.FAIL)
                study.enqueue_trial(dict(trial.params))
                dead.append(trial)
    return dead
