"""Which machine a figure was measured on, in one line, for every benchmark to print beside its figures."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from embedded_vit.provenance import describe_machine as describe_processor
from embedded_vit.provenance import versions

__all__ = ["describe_machine"]


def describe_machine() -> str:
    """Processor, cores, threads, versions, commit of the checkout and load average, in one line."""
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    libraries = ", ".join(f"{name} {number}" for name, number in versions().items())
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{describe_processor()}; OMP_NUM_THREADS {threads}; {libraries}; commit {_commit()}; load average {load}"


def _commit() -> str:
    """The short hash of this checkout's commit, marked where files differ from it."""
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
