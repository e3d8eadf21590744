"""Reading gzip files in large pieces: what Python's own reader gives, and what it refuses."""

from __future__ import annotations

import gzip
import io
import zlib

import numpy as np
import pytest

from embedded_vit.io.nifti.gunzip import CHUNK_BYTES, GunzipReader

CONTENT = np.random.default_rng(0).integers(0, 5, 300_000).astype(np.uint8).tobytes()


def unpacked(packed: bytes, at_once: int = 100_003) -> bytes:
    """Read all of it, `at_once` bytes at a time."""
    reader = io.BufferedReader(GunzipReader(io.BytesIO(packed)))
    pieces = []
    while piece := reader.read(at_once):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("at_once", [1000, CHUNK_BYTES, 10**7])
def test_it_gives_what_gzip_gives(at_once: int) -> None:
    assert unpacked(gzip.compress(CONTENT), at_once) == CONTENT


@pytest.mark.parametrize("between", [b"", b"\0" * 7, b"\0" * (2 * CHUNK_BYTES)])
def test_members_follow_each_other_and_zeros_are_skipped(between: bytes) -> None:
    packed = gzip.compress(CONTENT) + between + gzip.compress(b"more") + between
    assert unpacked(packed) == gzip.decompress(packed) == CONTENT + b"more"


def test_a_header_that_lies_across_two_chunks_is_read() -> None:
    first = gzip.compress(CONTENT[:1000])
    packed = first + b"\0" * (CHUNK_BYTES - len(first) - 1) + gzip.compress(b"more")  # one byte of the magic is left
    assert unpacked(packed) == CONTENT[:1000] + b"more"


@pytest.mark.parametrize("kept", [1, 5, 12, 1000, -1, -8])
def test_a_member_that_ends_early_is_refused(kept: int) -> None:
    with pytest.raises((EOFError, gzip.BadGzipFile)):
        unpacked(gzip.compress(CONTENT)[:kept])


@pytest.mark.parametrize("place", [-1, -5, 500])
def test_a_flipped_bit_is_noticed(place: int) -> None:
    packed = bytearray(gzip.compress(CONTENT))
    packed[place] ^= 1
    with pytest.raises(zlib.error):
        unpacked(bytes(packed))


def test_what_follows_a_member_is_refused_after_its_content_was_read() -> None:
    reader = io.BufferedReader(GunzipReader(io.BytesIO(gzip.compress(CONTENT) + b"?")))
    assert reader.read(len(CONTENT)) == CONTENT
    with pytest.raises(gzip.BadGzipFile, match="Not a gzipped file"):
        reader.read(1)
