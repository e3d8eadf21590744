"""Files that exist whole or not at all: written beside their place, flushed to the disk, then renamed.

`atomic_path` does not flush the folder: after a loss of power the older file may be back, but it is whole too. Who
must not lose the new one calls `flush` with the folder.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from embedded_vit.errors import OutputError

__all__ = [
    "atomic_path",
    "check_folder",
    "flush",
    "output_errors",
    "refuse_existing",
    "sweep_leftovers",
    "sweep_tree",
    "temporary_beside",
    "write_text",
]

# The number of the process, a byte of its computer's name, and a random byte.
TEMPORARY = re.compile(r"\.(?P<process>[0-9a-f]{6})(?P<computer>[0-9a-f]{2})[0-9a-f]{2}\..")


@contextmanager
def atomic_path(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to; on success it takes the place of `path`, on any error it is removed.

    Args:
        path: Where the finished file goes; its folder is made. The temporary name keeps the suffixes, which some
            writers read (`.nii.gz`).
        overwrite: Whether a file may be there already.

    Raises:
        OutputError: The file exists, the folder cannot be written, the disk is full, or, on Windows, the file that is
            to be replaced is open.
    """
    path = Path(path)
    if not overwrite:
        refuse_existing(path)
    temporary = temporary_beside(path)
    try:
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            flush(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # it was never made, or its place is no folder
            temporary.unlink()


def temporary_beside(path: Path) -> Path:
    """Return where something is made that will get the name of `path` when it is whole; `sweep_tree` knows the name."""
    return path.with_name(f".{os.getpid() & 0xFFFFFF:06x}{_this_computer()}{secrets.token_hex(1)}.{path.name}")


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what the system raises where a file or folder cannot be written into one line.

    Raises:
        OutputError: It cannot be written, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
        raise OutputError(f"{path}: cannot write: {reason}") from error


def flush(path: Path) -> None:
    """Wait until a file, or the names of the files in a folder, are on the disk.

    Raises:
        OSError: It cannot be opened or written.
    """
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # Windows flushes only what may be written
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sweep_leftovers(folder: Path, suffixes: Sequence[str]) -> None:
    """Remove the temporary files that killed processes left in a folder that belongs to the user.

    Args:
        folder: Where to look; nothing below it is touched.
        suffixes: Of the finished files' names, for example `.nii.gz`; other temporary files stay.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if path.name.endswith(tuple(suffixes)) and _is_leftover(path.name):
                with suppress(OSError):
                    path.unlink()  # never a folder, as `sweep_tree` would


def sweep_tree(folder: Path) -> None:
    """Remove all temporary files and folders that killed processes left in a folder of ours, and below it.

    What a process on another computer is writing stays, as its number says nothing here.
    """
    for place, folders, files in os.walk(folder):  # which passes over what cannot be read
        for name in filter(_is_leftover, files + folders):
            _remove(Path(place, name))


def _is_leftover(name: str) -> bool:
    """Whether a file of this name was being written by a process of this computer that is no more."""
    match = TEMPORARY.match(name)
    return match is not None and match["computer"] == _this_computer() and not _lives(int(match["process"], 16))


def _remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if that can be done."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _this_computer() -> str:
    return f"{zlib.crc32(platform.node().encode()) & 0xFF:02x}"


def _lives(process: int) -> bool:
    """Whether a process of this number may be running."""
    if process == os.getpid():
        return True
    if os.name == "nt":  # where a signal of 0 ends it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is somebody else's
        return True
    return True


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before any work is done.

    Raises:
        OutputError: Something on its path is a file, or may not be written.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise OutputError(f"{folder}: {there} is a file, where a folder is expected; choose another --output")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: {there} may not be written; choose another --output, or change its permissions")


def refuse_existing(path: Path) -> None:
    """Raise OutputError where something is already at `path`."""
    if path.exists():
        raise OutputError(f"{path}: exists already; choose another name or remove it first")


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> None:
    """Write a UTF-8 text file atomically, with line feeds as they are; errors as `atomic_path`."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_text(
            text, encoding="utf-8", errors="backslashreplace", newline="\n"
        )  # the same bytes on every system


def _umask() -> int:
    """Return the process's mask for new files; some writers make theirs readable to the owner only."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
