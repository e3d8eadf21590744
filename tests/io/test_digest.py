"""Digests of files, and of files while they are read."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded_vit.errors import FileFormatError
from embedded_vit.io.digest import HashingReader, sha256_of


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # more than one chunk
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be read"):
        sha256_of(tmp_path / "absent")


MOVES = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 40), st.just(0)),
    st.tuples(st.just("seek"), st.integers(0, 130), st.just(0)),
    st.tuples(st.just("seek"), st.integers(-20, 20), st.just(1)),
    st.tuples(st.just("seek"), st.integers(-100, 20), st.just(2)),
)


@given(moves=st.lists(MOVES, max_size=12), buffered=st.booleans())
def test_a_parser_reads_and_seeks_as_it_likes(moves: list[tuple[str, int, int]], buffered: bool) -> None:
    content = bytes(range(100))
    plain, reader = io.BytesIO(content), HashingReader(io.BytesIO(content))  # type: ignore[arg-type]
    hashing = reader.buffered() if buffered else reader
    for kind, number, whence in moves:
        if kind == "read":
            assert hashing.read(number) == plain.read(number)
        elif not (whence == 1 and plain.tell() + number < 0):
            assert hashing.seek(number, whence) == plain.seek(number, whence)
        assert hashing.tell() == plain.tell()
    assert reader.hexdigest() == hashlib.sha256(content).hexdigest()
