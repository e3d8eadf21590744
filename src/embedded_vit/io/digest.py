"""SHA-256 digests of files, which say later which input and which model a result came from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from embedded_vit.errors import FileFormatError

__all__ = ["sha256_of"]

CHUNK_BYTES = 1 << 20


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
        FileFormatError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()
