"""A lock that one process holds on a file, and that the system frees when the process dies."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["file_lock"]

FIRST_BYTE = 1  # Windows locks bytes of a file, which need not be there


@contextmanager
def file_lock(path: str | Path) -> Iterator[bool | None]:
    """Try to hold a lock while the `with` statement runs; it does not wait.

    Args:
        path: The file that is locked, which is made if it is not there. Its folder must be there.

    Yields:
        Whether the lock is held: False where another process holds it, None where the file system has no locks.
    """
    with open(path, "ab") as file:
        try:
            import fcntl
        except ModuleNotFoundError:  # Windows
            yield from _windows_lock(file)
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            yield False if error.errno in (errno.EAGAIN, errno.EACCES) else None
        else:
            yield True  # closing the file frees the lock


def _windows_lock(file: BinaryIO) -> Iterator[bool]:
    import msvcrt

    system: Any = msvcrt  # its functions are unknown to mypy elsewhere
    file.seek(0)
    try:
        system.locking(file.fileno(), system.LK_NBLCK, FIRST_BYTE)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            file.seek(0)
            system.locking(file.fileno(), system.LK_UNLCK, FIRST_BYTE)  # closing the file frees it only some time later
