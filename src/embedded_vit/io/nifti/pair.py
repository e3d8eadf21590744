"""NIfTI pairs: the header in a `.hdr` file, the voxels in an `.img` file of the same name beside it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embedded_vit.errors import FileFormatError

__all__ = ["PAIR_SUFFIXES", "Chained", "is_pair", "looks_like_pair", "pair_of"]

HEADER_SUFFIX, VOXELS_SUFFIX = PAIR_SUFFIXES = (".hdr", ".img")
MAGIC_AT, MAGIC = 344, b"ni1\0"  # of a NIfTI-1 pair; Analyze, of the same names, has none


def is_pair(path: str | Path) -> bool:
    """Whether a path is named as one of the two files of a pair."""
    return str(path).lower().endswith(PAIR_SUFFIXES)


def pair_of(path: str | Path) -> tuple[Path, Path]:
    """Return the two files of a pair, given either: header and voxels.

    Raises:
        FileFormatError: One of them is not there.
    """
    given = Path(path)
    there = {other.suffix.lower(): other for other in given.parent.glob(f"{_escaped(given.stem)}.*")}
    for suffix in PAIR_SUFFIXES:
        if suffix not in there:
            raise FileFormatError(f"{path}: one of a pair, and {given.stem}{suffix} is not beside it; copy both")
    return there[HEADER_SUFFIX], there[VOXELS_SUFFIX]


def looks_like_pair(path: Path) -> bool:
    """Whether a file is the header of a NIfTI pair whose voxels are there; it is looked into."""
    if not path.name.lower().endswith(HEADER_SUFFIX):
        return False
    try:
        header, _ = pair_of(path)
        with open(header, "rb") as file:
            return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC
    except (FileFormatError, OSError):
        return False


class Chained(io.RawIOBase):
    """Files that are read as one, each from its first byte to its last."""

    def __init__(self, files: Sequence[io.RawIOBase]) -> None:
        """Chain open files that have no buffer."""
        self._files = list(files)

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at most as many bytes as the buffer takes; return how many."""
        while self._files:
            if count := self._files[0].readinto(buffer):
                return count
            self._files.pop(0)
        return 0


def _escaped(name: str) -> str:
    """Return a name in which `glob` reads no pattern."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
