"""The line that every benchmark prints below its figures: machine, versions and load."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from embedded_vit.costs.machine_state import load_average
from embedded_vit.provenance import describe_machine, versions

__all__ = ["commit", "footnote", "machine_and_versions"]


def footnote() -> str:
    """Return processor, cores, threads, versions, commit of the checkout and load average, in one line."""
    return f"{machine_and_versions()}; commit {commit()}; load average {load_average()}"


def machine_and_versions() -> str:
    """Return processor, cores, threads and versions, in one line."""
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    libraries = ", ".join(f"{name} {number}" for name, number in versions().items())
    return f"{describe_machine()}; OMP_NUM_THREADS {threads}; {libraries}"


def commit() -> str:
    """Return the short hash of this checkout's commit, with a mark if files were changed since."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
