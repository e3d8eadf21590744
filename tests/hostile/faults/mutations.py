"""Damaged files of every kind, read in processes of their own: tests/hostile/mutate.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from faults.row import TESTS, Outcome, environment

KINDS = ("scan", "dicom", "picture", "itk", "artifact", "ours", "predictions")
MOST_MIB = 512
TORCH_MIB = 400  # that PyTorch takes before a file is opened, where files of trainings are read


def mutated(kind: str, count: int, folder: Path, *, seed: int = 0, first: int = 0) -> Outcome:
    """Damage and read files; whoever crashes the process is told by its number."""
    command = [sys.executable, str(TESTS / "hostile" / "mutate.py"), kind, str(seed), str(first + count), str(folder)]
    done = subprocess.run([*command, str(first)], env=environment(), capture_output=True, text=True, check=False)
    outcome = Outcome(tried=count)
    outcome.messages = [f"{kind}, seed {seed}: {line}" for line in done.stdout.splitlines()]
    if done.returncode != 0:
        at_work = (folder / "at-work").read_text() if (folder / "at-work").exists() else "?"
        outcome.messages.append(f"{kind}, seed {seed}: {at_work}: died ({done.returncode}): {done.stderr[-200:]!r}")
    outcome.failed = len(outcome.messages)
    if match := re.search(r"^peak MiB: (\d+)$", done.stderr, re.MULTILINE):
        outcome.note = f"peak {match[1]} MiB"
        limit = MOST_MIB + (TORCH_MIB if kind == "ours" else 0)
        if int(match[1]) > limit:
            outcome.failed += 1
            outcome.messages.append(f"{kind}: {match[1]} MiB, at most {limit}")
    return outcome
