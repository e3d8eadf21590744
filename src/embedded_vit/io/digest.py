"""SHA-256 digests of files, which say later which input and which model a result came from."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

from embedded_vit.errors import FileFormatError

__all__ = ["BUFFER_BYTES", "HashingReader", "sha256_of"]

CHUNK_BYTES = 1 << 16
BUFFER_BYTES = 1 << 16  # a parser asks for a few bytes at a time; each piece that is hashed costs a call


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
        FileFormatError: The file cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            return HashingReader(file).hexdigest()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error


class HashingReader(io.RawIOBase):
    """A file that is hashed while a parser reads it, so that no byte has to be read again for its digest.

    A parser may seek. Bytes that it skips are read for the digest; bytes that it reads again are not hashed again.
    """

    def __init__(self, file: io.RawIOBase) -> None:
        """Wrap a file that stands at its first byte and has no buffer."""
        self._file = file
        self._digest = hashlib.sha256()
        self._position = 0
        self._hashed = 0  # bytes from the start of the file that the digest covers

    def buffered(self) -> io.BufferedReader:
        """Return this file as one that a parser may ask for a few bytes at a time."""
        return io.BufferedReader(self, BUFFER_BYTES)

    @property
    def name(self) -> Any:
        """The name of the file, which pydicom asks for."""
        return getattr(self._file, "name", None)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read at most as many bytes as the buffer takes; return how many."""
        count = self._file.readinto(buffer) or 0
        known = self._hashed - self._position
        if count > known:
            self._digest.update(memoryview(buffer)[known:count])
            self._hashed += count - known
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another place and return it; see `io.IOBase.seek`."""
        target = self._file.seek(offset, whence)
        if target > self._hashed:
            self._position = self._file.seek(self._hashed)
            self._hash_up_to(target)
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
        self._hash_up_to(None)
        return self._digest.hexdigest()

    def _hash_up_to(self, target: int | None) -> None:
        """Read on to a place in the file; None for its end."""
        chunk = memoryview(bytearray(CHUNK_BYTES if target is None else min(CHUNK_BYTES, target - self._position)))
        while target is None or self._position < target:
            wanted = len(chunk) if target is None else min(len(chunk), target - self._position)
            if not self.readinto(chunk[:wanted]):
                return
