"""How a DICOM file is known: by four letters in it, not by its name (PS3.10 section 7.1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from embedded_vit.errors import FileFormatError

__all__ = ["files_of", "has_magic", "holds_dicom"]

PREAMBLE_BYTES = 128
MAGIC = b"DICM"


def has_magic(file: BinaryIO) -> bool:
    """Whether a file that stands at its first byte is DICOM; it stands behind the four letters afterwards."""
    return file.read(PREAMBLE_BYTES + len(MAGIC))[PREAMBLE_BYTES:] == MAGIC


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that may be DICOM, by name.

    Raises:
        FileFormatError: The folder cannot be read.
    """
    try:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name != "DICOMDIR":  # the index of a disk, always named so
                yield path
    except OSError as error:
        raise FileFormatError(f"{folder}: cannot be read: {error.strerror or error}") from error


def holds_dicom(folder: Path) -> bool:
    """Whether a folder holds DICOM files, whatever their names.

    Raises:
        FileFormatError: The folder or a file in it cannot be read.
    """
    for path in files_of(folder):
        try:
            with open(path, "rb") as file:
                if has_magic(file):
                    return True
        except OSError as error:
            raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    return False
