"""What else the machine does while we measure; read from Linux, None elsewhere."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

__all__ = ["CoreTimes", "load_average"]

SYSTEM_ROOT = Path("/")
BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)  # of /proc/stat: user, nice, system, irq, softirq, and stolen by other guests


def load_average() -> float | None:
    """Processes that ran or wanted to, on average over the last minute; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


@dataclass(frozen=True)
class CoreTimes:
    """A moment: how long the cores of this process have been busy, and how long for this process alone.

    Attributes:
        wall: Of the clock, in seconds.
        busy: Of all these cores together, in seconds, time stolen by other guests of the computer included.
        own: Of this process, in seconds.
    """

    wall: float
    busy: float
    own: float

    @classmethod
    def now(cls, root: Path = SYSTEM_ROOT) -> Self | None:
        """Read the clocks; None where the system does not tell."""
        try:
            lines = (root / "proc/stat").read_text(encoding="ascii").splitlines()
            names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
            ticks = sum(
                int(columns[1 + column])
                for columns in map(str.split, lines)
                if columns and columns[0] in names
                for column in BUSY_COLUMNS
            )
            return cls(time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())
        except (AttributeError, OSError, IndexError, ValueError):
            return None

    def other_cores_busy(self, later: CoreTimes) -> float:
        """Cores that other processes kept busy from this moment to a later one, on average."""
        others = (later.busy - self.busy) - (later.own - self.own)
        return max(0.0, others / (later.wall - self.wall))
