"""A row of the table of faults, and what came out of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MOST_MESSAGES = 20
TESTS = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that imports what tests and campaigns import."""
    paths = [TESTS, TESTS / "benchmark", TESTS / "report", TESTS / "hostile"]
    path = os.pathsep.join([*map(str, paths), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | more


@dataclass
class Outcome:
    """What a campaign found.

    Attributes:
        tried: How many faults were made.
        failed: After how many of them the target was missed.
        messages: The first of them, a sentence each.
        note: What else the table should say.
    """

    tried: int = 0
    failed: int = 0
    messages: list[str] = field(default_factory=list)
    note: str = ""

    def count(self, *, good: bool, message: str) -> None:
        """Count one fault; `message` is kept where the target was missed."""
        self.tried += 1
        if not good:
            self.failed += 1
            if len(self.messages) < MOST_MESSAGES:
                self.messages.append(message)


@dataclass(frozen=True)
class Row:
    """A campaign.

    Attributes:
        name: In the table.
        target: What is asked for.
        full: How many faults are made by `FULL=1`; in other runs a share of them.
        run: Takes the number of faults and an empty folder.
        least: How many a share has at least, where there is no sense in fewer.
        lacks: What is not there that it needs; empty where all is. Such a row is skipped, and the table says why.
    """

    name: str
    target: str
    full: int
    run: Callable[[int, Path], Outcome] | None
    lacks: str = ""
    least: int = 1
