"""The memory that a scan may take on this computer, in this container, for this user."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from embedded_vit.errors import ConfigError

__all__ = [
    "WORKING_BYTES",
    "free_bytes",
    "limit_matrix_threads",
    "parse_bytes",
    "resident_bytes",
    "room_below",
    "spare_address_space",
]

WORKING_BYTES = 32 * 2**20  # the current slices and blocks of planes, and the compressor
M_ARENA_MAX = -8  # glibc's malloc.h
LEAST_BYTES = 2**20  # less stands for another unit that was left out
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
MEMINFO = Path("/proc/meminfo")
PROCESS_CGROUP = Path("/proc/self/cgroup")
CGROUP_FOLDER = Path("/sys/fs/cgroup")


def parse_bytes(text: str, option: str = "--memory") -> int:
    """Read an amount of memory as `400M`, `1.5G` or a number of bytes; K, M and G are powers of 1024.

    Args:
        text: The amount.
        option: What it was given as, for messages.

    Raises:
        ConfigError: The text is not an amount of memory.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ConfigError(f"{option} '{text}': expected a number with K, M or G, for example 400M")
    if not match[2] and float(match[1]) < LEAST_BYTES:
        raise ConfigError(f"{option} '{text}': {match[1]} bytes, or {match[1]}M? give the unit: K, M or G")
    return int(float(match[1]) * UNITS[match[2].upper()])


def room_below(memory_bytes: int) -> float:
    """Return the bytes that a scan and its mask may take together; call it after the network has run once.

    Args:
        memory_bytes: The memory that the whole process may take.

    Raises:
        ConfigError: The process takes all of that memory already.
    """
    needed = resident_bytes() + WORKING_BYTES
    if memory_bytes < needed:
        raise ConfigError(
            f"{memory_bytes / 2**20:.0f}M of memory are too little: without a scan the program and this network take "
            f"{needed / 2**20:.0f}M; allow at least that"
        )
    return min([memory_bytes - needed, *(free - WORKING_BYTES for free in _free_below_limit())])


def spare_address_space() -> None:
    """Keep the address space small, for a process that has a limit on it (`ulimit -v`).

    Call it, and `limit_matrix_threads`, before numpy is imported: glibc maps an arena of 64 MB for each thread that
    allocates, and numpy's OpenBLAS 40 MB for each of its own.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no arenas
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def limit_matrix_threads(threads: int) -> None:
    """Set the number of threads of numpy's matrix products, unless the environment sets it.

    Call it before numpy is imported, which makes OpenBLAS's threads.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(threads))


def resident_bytes() -> int:
    """Return the memory that this process takes now, in bytes; 0 where it is not known."""
    pages = [int(line.split()[1]) for line in _lines(Path("/proc/self/statm"))]
    return pages[0] * os.sysconf("SC_PAGE_SIZE") if pages else 0


def free_bytes() -> float:
    """Return the memory that this process could still take, in bytes; infinite where it is not known.

    It is the smallest of what the computer, the container and the limit on address space (`ulimit -v`) leave.
    """
    return min([*_free_on_computer(), *_free_in_container(), *_free_below_limit()], default=float("inf"))


def _free_on_computer() -> Iterator[int]:
    """Yield `MemAvailable` of Linux: memory that is free or can be freed."""
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024  # kB


def _free_in_container() -> Iterator[int]:
    """Yield the limits of this process's control groups, versions 1 and 2, and of those above them."""
    for line in _lines(PROCESS_CGROUP):  # number:controllers:/path
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = CGROUP_FOLDER, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = CGROUP_FOLDER / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(root):
                yield from (int(limit) for limit in _lines(place / name) if limit.isdecimal())  # else "max"


def _free_below_limit() -> Iterator[int]:
    """Yield the address space that is left."""
    try:
        import resource  # not on Windows
    except ModuleNotFoundError:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = [int(line.split()[0]) for line in _lines(Path("/proc/self/statm"))]
    if limit != resource.RLIM_INFINITY and pages:
        yield max(0, limit - pages[0] * os.sysconf("SC_PAGE_SIZE"))


def _lines(path: Path) -> list[str]:
    """Return the lines of a file of the kernel; none if the file does not exist."""
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
