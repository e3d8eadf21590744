"""Joules per query from RAPL, the energy counters of a processor's packages, where they can be read.

A counter measures the whole package: other processes and the idle power of the processor are part of the figure.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EnergyCounters", "NoEnergyCounter"]

POWERCAP = Path("/sys/class/powercap")


class NoEnergyCounter(Exception):
    """Energy cannot be measured here; the text says why."""


@dataclass(frozen=True)
class EnergyCounters:
    """The energy counters of all processor packages of this computer.

    Attributes:
        zones: The folder of each package.
        ranges_uj: The value at which each counter restarts from 0, in microjoules.
    """

    zones: tuple[Path, ...]
    ranges_uj: tuple[int, ...]

    @classmethod
    def find(cls, root: Path = POWERCAP) -> EnergyCounters:
        """Find the counters.

        Args:
            root: Where Linux lists them.

        Raises:
            NoEnergyCounter: There are no counters, or this user may not read them.
        """
        zones = tuple(sorted(path for path in root.glob("intel-rapl:*") if path.name.count(":") == 1))
        if not zones:
            raise NoEnergyCounter(f"no RAPL counter under {root}")
        try:
            counters = cls(zones, tuple(int((zone / "max_energy_range_uj").read_text()) for zone in zones))
            counters._read_uj()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise NoEnergyCounter(f"{zones[0]} cannot be read: {reason}") from error
        return counters

    def joules_per_query(self, query: Callable[[], object], *, seconds: float) -> float:
        """Answer queries for some seconds, at least one, and return the energy of the packages per query."""
        before_uj, begin, queries = self._read_uj(), time.perf_counter(), 0
        while queries == 0 or time.perf_counter() - begin < seconds:
            query()
            queries += 1
        taken_uj = sum(
            (after - before) % limit
            for before, after, limit in zip(before_uj, self._read_uj(), self.ranges_uj, strict=True)
        )
        return taken_uj / 1e6 / queries

    def _read_uj(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self.zones]
