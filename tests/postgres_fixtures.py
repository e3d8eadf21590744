"""A PostgreSQL server of a test's own: in a temporary folder, at a socket there, as a user who is not root."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

USER = "search"
SOCKET_PORT = 5432  # only part of the socket's name: the server listens to no address


def programs() -> Path | None:
    """Return the folder of initdb and postgres; None where there is none."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((place for place in reversed(places) if (place / "initdb").exists()), None)


def lacks() -> str:
    """Return what is not there that a data base needs; empty where all is."""
    if find_spec("pg8000") is None:
        return "pg8000 is not installed"
    return "" if programs() else "no PostgreSQL"


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


class Server:
    """A running server.

    Args:
        folder: Where its socket is.
        port: Where it listens; 0 at its socket alone.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self._made = 0

    def address(self, name: str) -> str:
        """Return the address of a data base."""
        if self.port:
            return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def new_database(self) -> str:
        """Make an empty data base; return its address."""
        self._made += 1
        name, place = f"searches{self._made}", programs()
        assert place is not None
        subprocess.run(
            [place / "createdb", "-h", self.folder, "-p", str(self.port or SOCKET_PORT), "-U", USER, name],
            check=True,
            capture_output=True,
        )
        return self.address(name)


@contextmanager
def running_postgres(*, tcp: bool = False) -> Iterator[Server]:
    """Yield a server that is gone afterwards; with `tcp` it listens at a free port of this computer."""
    place = programs()
    assert place is not None
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a short path, as that of a socket must be
    user = "nobody" if os.geteuid() == 0 else None  # the server refuses root
    if user:
        shutil.chown(folder, user)
    options = {"user": user, "cwd": folder, "check": True, "capture_output": True}
    data, port = str(folder / "data"), free_port() if tcp else 0
    server = None
    try:
        subprocess.run(
            [place / "initdb", "-D", data, "-U", USER, "-A", "trust", "-N", "-E", "UTF8", "--locale=C"], **options
        )
        settings = (
            "-c",
            f"listen_addresses={'127.0.0.1' if tcp else ''}",
            "-c",
            "fsync=off",
            "-c",
            "shared_buffers=1MB",
        )
        server = subprocess.Popen(
            [place / "postgres", "-D", data, "-k", str(folder), "-p", str(port or SOCKET_PORT), *settings],
            user=user,
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in server.stderr:
            if "ready to accept connections" in line:
                break
        else:
            raise AssertionError("the server did not start")
        yield Server(folder, port)
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # a fast end: clients are not waited for
            server.communicate()
        shutil.rmtree(folder, ignore_errors=True)
