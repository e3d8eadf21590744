"""The results of rows that were made in full, each with what it was made by: sources, commit, machine, load."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from footnote import commit, machine_and_versions

from embedded_vit.costs.machine_state import load_average
from embedded_vit.counted import counted
from faults.row import TESTS

FILE = "faults.json"
SOURCES = ("src/embedded_vit/**/*", "tests/hostile/**/*", "tests/*_fixtures.py")
NO_SOURCES = ("__pycache__", ".zip")  # of a path: what is made from sources
DIGITS = 12
Result = dict[str, Any]


def sources() -> str:
    """Return the first digits of a digest of the package and the campaigns: a result of other sources is an old one."""
    root, digest = TESTS.parent, hashlib.sha256()
    for path in sorted({path for pattern in SOURCES for path in root.glob(pattern) if path.is_file()}):
        name = path.relative_to(root).as_posix()
        if not any(word in name for word in NO_SOURCES):
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:DIGITS]


def made_by() -> Result:
    """Return what a result is made by that begins now."""
    return {"sources": sources(), "commit": commit(), "machine": machine_and_versions(), "load": load_average()}


def read_records(folders: Iterable[Path]) -> dict[str, Result]:
    """Return the results of all folders by the names of their rows; a later folder's count where several have one."""
    found: dict[str, Result] = {}
    for folder in folders:
        if (folder / FILE).exists():
            found.update(json.loads((folder / FILE).read_text()))
    return found


def write_record(folder: Path, known: dict[str, Result]) -> None:
    """Write results."""
    (folder / FILE).write_text(json.dumps(known, indent=1) + "\n")


def made_by_all(results: Iterable[Result]) -> str:
    """Return by what all results were made, in one line: machines, sources with their numbers of rows, loads.

    The record has the commits; pages of the documentation hold none.
    """
    results = list(results)
    machines = list(dict.fromkeys(each["machine"] for each in results))
    made = Counter(f"sources {each['sources']}" for each in results)
    rows = [name if len(made) == 1 else f"{name} of {counted(count, 'row')}" for name, count in made.items()]
    loads = sorted({each["load"] for each in results if each["load"] is not None})
    load = " to ".join(f"{each:g}" for each in [*loads[:1], *loads[1:][-1:]]) or "unknown"
    return "; ".join([*machines, *rows, f"load average {load}"])
