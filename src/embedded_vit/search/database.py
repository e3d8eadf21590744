"""The trials of a search in a PostgreSQL data base, which machines share that have no folder in common."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from embedded_vit.errors import ConfigError

__all__ = ["Database", "open_database", "told_in_one_line"]

KIND, DRIVER = "postgresql", "pg8000"
LOCK = 0x45564954  # of those who draw a trial; any number that others of this data base do not take
TLS: dict[str, Any] = {"disable": False, "require": True, "verify-full": None}  # None: made where it is asked for


class Database:
    """A data base, and Optuna's view of it.

    Attributes:
        storage: For Optuna.
        shown: Its address without a password, for messages.
    """

    def __init__(self, engine: Engine, storage: RDBStorage, shown: str) -> None:
        self._engine = engine
        self.storage = storage
        self.shown = shown

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out while the `with` statement runs; the data base frees the lock of a dead one."""
        with _alone(self._engine):
            yield


def open_database(address: str) -> Database:
    """Connect to a data base, and make Optuna's tables where there are none.

    Args:
        address: postgresql://USER@HOST/DATABASE. A password that it lacks is taken from the variable PGPASSWORD.

    Raises:
        ConfigError: It is not such an address, or the data base cannot be reached or written; one line.
    """
    url, options = _read(address)
    shown = url.set(drivername=KIND).render_as_string(hide_password=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with told_in_one_line(shown):
        try:
            engine = sqlalchemy.create_engine(url, **options)
            with _alone(engine):  # two processes must not make the tables at the same time
                storage = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
        except (ModuleNotFoundError, ImportError) as error:
            raise ConfigError(f"--storage {shown}: needs: pip install 'embedded-vit[postgres]'") from error
    return Database(engine, storage, shown)


@contextmanager
def told_in_one_line(shown: str) -> Iterator[None]:
    """Turn what a data base raises into one line without a password.

    Raises:
        ConfigError: The data base cannot be reached, or refuses.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, OSError) as error:
        cause: object = getattr(error, "orig", None) or error
        words = cause.args[0] if isinstance(cause, Exception) and cause.args else cause
        reason = words.get("M", "") if isinstance(words, dict) else str(words)  # pg8000 hands on the server's fields
        reason = reason.split("\n")[0] or type(error).__name__
        raise ConfigError(
            f"--storage {shown}: the data base cannot be used: {reason:.120}; check that it runs, its address and "
            "name, then give the same command again"
        ) from None


def _read(address: str) -> tuple[URL, dict[str, Any]]:
    """Return the address for SQLAlchemy, and the options of its engine."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() != KIND or not url.database:
        raise ConfigError(
            "--storage: expected postgresql://USER@HOST/DATABASE; without --storage the trials lie in --output"
        )
    query, arguments = dict(url.query), dict[str, Any]()
    if folder := query.pop("host", None):  # as PostgreSQL's own programs name the folder of a socket
        arguments["unix_sock"] = f"{folder}/.s.PGSQL.{url.port or 5432}"
    mode = query.pop("sslmode", None)
    if mode is not None:
        if mode not in TLS:
            raise ConfigError(f"--storage: sslmode={mode}: expected one of {', '.join(TLS)}")
        arguments["ssl_context"] = ssl.create_default_context() if mode == "verify-full" else TLS[str(mode)]
    if query:
        raise ConfigError(f"--storage: unknown settings {', '.join(sorted(query))}; expected host or sslmode")
    password = url.password or os.environ.get("PGPASSWORD")
    url = url.set(drivername=f"{KIND}+{DRIVER}", query={}, password=password)
    return url, {"pool_pre_ping": True, "connect_args": arguments}


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Hold the lock of the data base; it is freed when the connection ends."""
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
