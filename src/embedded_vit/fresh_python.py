"""Runs Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["run_python", "start_python"]


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


def _environment() -> dict[str, str]:
    """Return the variables of a new interpreter.

    As the command line does, it imports nothing that happens to lie in the current folder: a user's `nt.py` or
    `types.py` would be taken for Python's own (from Python 3.11 on; 3.10 cannot be told).
    """
    return os.environ | {"PYTHONSAFEPATH": "1"}
