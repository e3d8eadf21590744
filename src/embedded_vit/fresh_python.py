"""Runs Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["run_python"]


def run_python(arguments: Sequence[str], *, seconds_limit: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with other arguments and capture what it prints.

    As the command line does, it imports nothing that happens to lie in the current folder: a user's `nt.py` or
    `types.py` would be taken for Python's own (from Python 3.11 on; 3.10 cannot be told).

    Args:
        arguments: What follows `python` on a command line.
        seconds_limit: When to kill it.

    Raises:
        subprocess.TimeoutExpired: It was killed.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds_limit,
    )
