"""Bombs and claims: each file of `attacks.py` is refused, soon, and before memory is allocated for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from faults.attacks import READS, write_attacks
from faults.row import Outcome

ATTACKS = 28
MOST_SECONDS = 2.0
MOST_MIB = 128


def claimed(count: int, folder: Path) -> Outcome:
    """Read all attacks, whatever `count` is: they are few."""
    del count
    outcome = Outcome()
    paths = list(map(str, write_attacks(folder / "attacks")))
    while paths:
        done = subprocess.run([sys.executable, "-c", READS, *paths], capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        for line in lines:
            name, what, seconds, mib = line.split("|")
            good = what == "refused" and float(seconds) <= MOST_SECONDS and float(mib) <= MOST_MIB
            outcome.count(good=good, message=f"{name}: {what}, {seconds} s, {mib} MiB more")
        paths = paths[len(lines) :]
        if done.returncode != 0 and paths:
            outcome.count(good=False, message=f"{Path(paths[0]).name}: died ({done.returncode}) {done.stderr[-200:]!r}")
            paths = paths[1:]
    return outcome
