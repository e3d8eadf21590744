"""Disks that are full, broken or read-only at each write: one line, the file before stays whole, nothing is left."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from faults.row import Outcome, environment

SHIM = Path(__file__).with_suffix(".c")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)


def failing(count: int, folder: Path) -> Outcome:
    """Run this module in a process whose writes below a folder can be made to fail."""
    library = folder / "failing_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(SHIM), "-ldl"], check=True, capture_output=True)
    place = folder / "disk"
    place.mkdir()
    command = [sys.executable, "-m", "faults.failing_disk", str(count), str(place), str(folder)]
    done = subprocess.run(
        command,
        env=environment(LD_PRELOAD=str(library), FAULT_FOLDER=str(place)),
        capture_output=True,
        text=True,
        check=False,
    )
    outcome = Outcome()
    for line in done.stdout.splitlines():
        good, _, message = line.partition(" ")
        outcome.count(good=good == "good", message=message)
    if done.returncode != 0:
        outcome.count(good=False, message=f"died ({done.returncode}): {done.stderr[-400:]!r}")
    return outcome


class Disk:
    """The calls of the library that is preloaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.fault_disarm.restype = ctypes.c_long

    def tried(self, act: Callable[[], object], nth: int, error: int) -> tuple[BaseException | None, int]:
        """Do something while the n-th write and all after it fail; return what was raised, and the writes so far."""
        self._library.fault_arm(ctypes.c_long(nth), ctypes.c_int(error))
        try:
            act()
        except Exception as raised:
            return raised, self._library.fault_disarm()
        return None, self._library.fault_disarm()


def main() -> None:
    """Let each write of each action fail with each error, as many as are asked for."""
    from embedded_vit.errors import EmbeddedVitError
    from faults.failing_writers import actions

    count, place, others = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    disk, writes = Disk(), []
    for action in actions(place, others):
        raised, number = disk.tried(action.act, 0, 0)
        if raised is not None or not number:
            raise AssertionError(f"{action.name} without a fault: {raised!r}, {number} writes")
        action.check()
        writes.append((action, number))
    step = max(1, round(len(ERRORS) * sum(number for _, number in writes) / count))
    for action, number in writes:
        for nth in range(1, number + 1, step):
            for error in ERRORS:
                raised, _ = disk.tried(action.act, nth, error)
                wrong = action.check()
                if raised is None and action.is_told:
                    wrong = "no error"
                elif raised is not None and (not isinstance(raised, EmbeddedVitError) or "\n" in str(raised)):
                    wrong = f"{type(raised).__name__}: {raised}"
                told = f"{action.name}, write {nth} of {number}, {errno.errorcode[error]}: {wrong}"
                line = " ".join(f"{'bad' if wrong else 'good'} {told}".split())
                sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
