"""SHA-256 digests of files, which say later which input and which model a result came from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from embedded_vit.errors import FileFormatError

__all__ = ["HashingReader", "sha256_of"]

CHUNK_BYTES = 1 << 20


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
        FileFormatError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return HashingReader(file).hexdigest()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error


class HashingReader:
    """A file that is hashed while a parser reads it, so that no byte has to be read again for its digest.

    A parser may seek. Bytes that it skips are read for the digest; bytes that it reads again are not hashed again.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Wrap a binary file that stands at its first byte."""
        self._file = file
        self._digest = hashlib.sha256()
        self._position = 0
        self._hashed = 0  # bytes from the start of the file that the digest covers

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, or all that are left."""
        content = self._file.read(size)
        known = self._hashed - self._position
        if len(content) > known:
            self._digest.update(memoryview(content)[known:])
            self._hashed += len(content) - known
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another place, as `io.IOBase.seek`; returns it."""
        target = self._file.seek(offset, whence)
        if target > self._hashed:
            self._position = self._file.seek(self._hashed)
            while self._position < target and self.read(min(CHUNK_BYTES, target - self._position)):
                pass
            self._file.seek(target)
        self._position = target
        return target

    def tell(self) -> int:
        """Return the place in the file."""
        return self._position

    def hexdigest(self) -> str:
        """Read what is left of the file and return the SHA-256 of all its bytes, as 64 hexadecimal digits."""
        if self._position != self._hashed:
            self._position = self._file.seek(self._hashed)
        while self.read(CHUNK_BYTES):
            pass
        return self._digest.hexdigest()
