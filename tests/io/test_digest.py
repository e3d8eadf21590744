"""Digests of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from embedded_vit.errors import FileFormatError
from embedded_vit.io.digest import sha256_of


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # more than one chunk
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be read"):
        sha256_of(tmp_path / "absent")
