"""The trials of a search, which several processes or machines may write: in one file, or in a data base.

OUTPUT/search.journal    Optuna's journal; a trial's figures are its user attribute "record"
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock

from embedded_vit.boundary import one_line_errors
from embedded_vit.datasets.data_set import DataSet, Split
from embedded_vit.datasets.identity import data_content
from embedded_vit.errors import ConfigError, OutputError
from embedded_vit.io.atomic import output_errors, temporary_beside
from embedded_vit.search.alive import Beats, FileLocks
from embedded_vit.search.database import Database
from embedded_vit.search.space import SearchSettings, first_candidates

__all__ = ["JOURNAL", "data_identity", "journal_errors", "open_study", "signs_of_life"]

JOURNAL = "search.journal"
NAME = "embedded-vit search"
NOT_HELD = "did not possess lock"  # Optuna's words, where its lock cannot be given back


def signs_of_life(folder: Path, database: Database | None) -> FileLocks | Beats:
    """Return how the processes of a search see which trials are at work."""
    return FileLocks(folder) if database is None else Beats(database)


def open_study(folder: Path, settings: SearchSettings, data: str, database: Database | None = None) -> optuna.Study:
    """Start a search in a folder or data base, or join the one that it holds.

    Args:
        folder: The folder of the search.
        settings: The settings; those of the existing search, if there is one.
        data: The result of `data_identity`; that of the existing search, if there is one.
        database: Where the trials are written; None for the journal in the folder.

    Raises:
        ConfigError: The folder or data base holds a search with other settings or other data.
        FileFormatError: The journal is damaged.
        OutputError: The folder cannot be created.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot create this folder: {error.strerror or error}") from error
    place = str(folder) if database is None else database.shown
    asked = {"data": data, **settings.model_dump(mode="json"), "budget": str(settings.budget)}
    with signs_of_life(folder, database).alone():
        study = _journal_study(folder) if database is None else _study_in(database.storage)
        if "asked" not in study.user_attrs:
            for known in first_candidates(settings.family) if settings.space is None else []:
                study.enqueue_trial(known, skip_if_exists=True)
            study.set_user_attr("asked", asked)
    _refuse_another(place, study.user_attrs["asked"], asked)
    return study


def _journal_study(folder: Path) -> optuna.Study:
    path = folder.resolve() / JOURNAL  # the lock does not work on a relative path
    lock = _journal_lock(path)
    _drop_unfinished_line(path, lock)
    with one_line_errors(path, what="not the journal of a search, or damaged", advice="choose another --output"):
        return _study_in(JournalStorage(JournalFileBackend(str(path), lock)))


@contextmanager
def journal_errors(folder: Path) -> Iterator[None]:
    """Turn what Optuna raises where its journal cannot be written into one line.

    Raises:
        OutputError: The disk is full, or the folder cannot be written any more.
    """
    try:
        with output_errors(folder):
            yield
    except RuntimeError as error:
        if NOT_HELD not in str(error):
            raise
        raise OutputError(f"{folder / JOURNAL}: cannot write: its lock cannot be given back") from error


def _study_in(storage: BaseStorage) -> optuna.Study:
    return optuna.create_study(
        storage=storage, study_name=NAME, directions=["maximize", "minimize"], load_if_exists=True
    )


class _SweptLock:
    """Gives a lock back under a name that `sweep_tree` knows, so that a process that is killed there leaves nothing."""

    _lock_file: str

    def release(self) -> None:
        """Remove the lock in two steps, as Optuna does: another process may take it from one that seems dead.

        Raises:
            RuntimeError: Another process has taken it.
        """
        renamed = temporary_beside(Path(self._lock_file))
        try:
            os.rename(self._lock_file, renamed)
            os.unlink(renamed)
        except OSError as error:
            raise RuntimeError(NOT_HELD) from error


class _SymlinkLock(_SweptLock, JournalFileSymlinkLock):
    pass


class _OpenLock(_SweptLock, JournalFileOpenLock):
    pass


def _journal_lock(path: Path) -> _SymlinkLock | _OpenLock:
    """Choose the lock of a journal: a symbolic link, or a file where links are not allowed, as on Windows.

    Each kind of lock is refused while the other kind exists, so processes may choose differently.
    """
    trial = temporary_beside(path)
    try:
        os.symlink(path, trial)
        trial.unlink()
    except (OSError, NotImplementedError):
        return _OpenLock(str(path))
    return _SymlinkLock(str(path))


def _drop_unfinished_line(path: Path, lock: _SymlinkLock | _OpenLock) -> None:
    """Cut off a last line that a full disk or a loss of power left unfinished; else the next line is unreadable."""
    if not path.exists():
        return
    lock.acquire()
    try:
        with open(path, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def _refuse_another(place: str, before: dict[str, object], asked: dict[str, object]) -> None:
    before = {"family": "dual", **before}  # the only one of older versions
    for name, value in asked.items():
        if before.get(name) == value:
            continue
        if name == "data":
            raise ConfigError(f"{place}: holds a search on other data; choose another --output or data base")
        option = "--" + name.replace("_", "-")
        raise ConfigError(
            f"{place}: holds a search with {option} {_words(before.get(name))}, now {_words(value)}; "
            "give the same options to continue it, or choose another --output or data base"
        )


def _words(value: object) -> str:
    """Return a setting as the command line takes it."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def data_identity(data_set: DataSet, split: Split) -> str:
    """Return a digest that identifies a data set in any folder: of its structures, split, and the files' content."""
    content = data_content(data_set, split.train + split.validation)
    described = [data_set.modality, data_set.channels, data_set.labels.names, split.model_dump(), content]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()
