"""How a DICOM file is known: by what its first bytes are, not by its name (PS3.10 section 7.1)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from embedded_vit.errors import FileFormatError

__all__ = ["MAGIC", "PREAMBLE_BYTES", "files_of", "holds_dicom", "is_bare", "is_dicom"]

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
# A data set without preamble begins with a tag of group 2 (file meta information) or 8 (what it is): as old archives
# and network nodes keep it.
BARE_GROUPS = {0x0002, 0x0008}
VALUE_TYPES = {b"AE", b"AS", b"CS", b"DA", b"DT", b"LO", b"OB", b"SH", b"SQ", b"TM", b"UI", b"UL"}
MOST_OF_FIRST_VALUE = 4096


def is_bare(start: bytes) -> bool:
    """Whether a file begins as a data set without preamble does.

    Args:
        start: Its first bytes, eight or more.
    """
    if len(start) < 8 or int.from_bytes(start[:2], "little") not in BARE_GROUPS:
        return False
    element, length = int.from_bytes(start[2:4], "little"), int.from_bytes(start[4:8], "little")
    return element < 0x1200 and (start[4:6] in VALUE_TYPES or 0 < length <= MOST_OF_FIRST_VALUE)


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that may be DICOM, by name; those that begin with a dot are left out.

    Raises:
        FileFormatError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise FileFormatError(f"{error.filename}: cannot be read: {error.strerror or error}") from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and not name.startswith(".") and name != "DICOMDIR":  # the index of a disk
                yield path


def holds_dicom(folder: Path) -> bool:
    """Whether a folder itself holds DICOM files, whatever their names.

    Raises:
        FileFormatError: The folder or a file in it cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise FileFormatError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return any(is_dicom(path) for path in paths if path.name != "DICOMDIR")


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its first bytes.

    Raises:
        FileFormatError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(PREAMBLE_BYTES + len(MAGIC))
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    return start[PREAMBLE_BYTES:] == MAGIC or is_bare(start)
