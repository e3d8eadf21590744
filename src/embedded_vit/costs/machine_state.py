"""Load of the machine by other processes during a measurement; read from Linux, None elsewhere."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

__all__ = ["CoreTimes", "load_average"]

SYSTEM_ROOT = Path("/")
BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)  # of /proc/stat: user, nice, system, irq, softirq, steal


def load_average() -> float | None:
    """Return the load average of the last minute; None where the system does not have one."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


@dataclass(frozen=True)
class CoreTimes:
    """Busy time of the cores that this process may use: in all, and for this process alone.

    Attributes:
        wall: Time of the clock, in seconds.
        busy: Busy time of all these cores together, in seconds, including time stolen by other virtual machines.
        own: Processor time of this process, in seconds.
    """

    wall: float
    busy: float
    own: float

    @classmethod
    def now(cls, root: Path = SYSTEM_ROOT) -> Self | None:
        """Read the clocks; return None where the system has none of them."""
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
        """Return how many cores other processes kept busy between this moment and a later one, on average."""
        others = (later.busy - self.busy) - (later.own - self.own)
        return max(0.0, others / (later.wall - self.wall))
