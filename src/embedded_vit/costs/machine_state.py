"""The processor, what it can, how it is governed, and what else it does; read from Linux, None elsewhere."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from typing_extensions import Self

from embedded_vit.config import Config
from embedded_vit.provenance import available_cores, processor_name

__all__ = ["CoreTimes", "Machine", "describe_processor", "governor", "load_average", "processor_flags"]

SYSTEM_ROOT = Path("/")

# Instructions that decide how fast a network runs: x86 first, then 64-bit ARM.
FLAGS_THAT_MATTER = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "asimdfhm", "i8mm", "bf16", "sve", "sve2", "svei8mm", "svebf16", "sme"),
)
BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)  # of /proc/stat: user, nice, system, irq, softirq, and stolen by other guests


class Machine(Config):
    """What the figures were measured on."""

    processor: str
    architecture: str
    system: str
    cores: int = Field(description="that the process may run on")
    flags: tuple[str, ...] = Field(description="instructions that matter for a network, those that are there")
    governor: str | None = Field(description="of the processor's frequency; None where the system has none")


def describe_processor(root: Path = SYSTEM_ROOT) -> Machine:
    """Describe this machine.

    Args:
        root: Where `proc` and `sys` lie.
    """
    return Machine(
        processor=processor_name(),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        cores=available_cores(),
        flags=processor_flags(root),
        governor=governor(root),
    )


def processor_flags(root: Path = SYSTEM_ROOT) -> tuple[str, ...]:
    """Those of `FLAGS_THAT_MATTER` that /proc/cpuinfo lists."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found: set[str] = set()
    for line in lines:
        key, _, values = line.partition(":")
        if key.strip() in ("flags", "Features"):
            found.update(values.split())
    return tuple(flag for flag in FLAGS_THAT_MATTER if flag in found)


def governor(root: Path = SYSTEM_ROOT) -> str | None:
    """The frequency governors of all cores, "performance" for example; None where the system has none."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    try:
        return ", ".join(sorted({file.read_text(encoding="ascii").strip() for file in files})) or None
    except OSError:
        return None


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
