"""Runs Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

__all__ = ["end_python", "run_python", "serve_pipes", "start_python"]


def run_python(arguments: Sequence[str], *, seconds_limit: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with other arguments and capture what it prints.

    Args:
        arguments: What follows `python` on a command line.
        seconds_limit: When to kill it.

    Raises:
        subprocess.TimeoutExpired: It was killed.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds_limit,
    )


def start_python(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start this interpreter with other arguments, and talk with it over its standard input and output.

    Args:
        arguments: What follows `python` on a command line.
    """
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def serve_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return what the process that started this one by `start_python` writes, and what it reads.

    Whatever the libraries print goes nowhere from now on, and cannot be taken for an answer.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    return requests, answers


def end_python(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that `start_python` started, and wait until it has ended."""
    process.kill()
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not sent any more
            if stream is not None:
                stream.close()
    process.wait()


def _environment() -> dict[str, str]:
    """Return the variables of a new interpreter.

    As the command line does, it imports nothing that happens to lie in the current folder: a user's `nt.py` or
    `types.py` would be taken for Python's own (from Python 3.11 on; 3.10 cannot be told).
    """
    return os.environ | {"PYTHONSAFEPATH": "1"}
