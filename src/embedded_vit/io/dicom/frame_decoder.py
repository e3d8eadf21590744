"""Compressed slices are decoded in a process of their own, one for each series.

Of damaged JPEG and JPEG-LS slices some make the libraries crash or hang, and the header of a slice can ask for any
amount of memory. So another process decodes: its death is one refused file, it may take so much memory and so long
for each slice, and what it answers is checked like any other input. `frame_process` is what runs there.
"""

from __future__ import annotations

import json
import struct
import subprocess
import threading
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.errors import FileFormatError
from embedded_vit.fresh_python import end_python, start_python

__all__ = ["CompressedFrame", "FrameDecoder"]

LENGTHS = struct.Struct("<II")  # of the header in JSON, and of the bytes that follow it
MOST_HEADER_BYTES = 4096
DTYPES = {"|u1", "|i1", "<u2", "<i2", "<u4", "<i4"}
SECONDS, SECONDS_A_MEGAPIXEL = 20.0, 5.0  # a hundred times what a slice takes on two cores


@dataclass(frozen=True)
class CompressedFrame:
    """A compressed slice, and what the header of its file says of it.

    Attributes:
        syntax: UID of the transfer syntax.
        plugin: pydicom's name of the library that decodes it; empty for any.
        rows, columns: Of the slice.
        allocated, stored: Bits of a word, and of the number in it.
        signed: Whether the numbers have a sign.
        photometric: PhotometricInterpretation.
    """

    syntax: str
    plugin: str
    rows: int
    columns: int
    allocated: int
    stored: int
    signed: bool
    photometric: str

    @property
    def seconds(self) -> float:
        """The longest that it may take to decode it."""
        return SECONDS + SECONDS_A_MEGAPIXEL * self.rows * self.columns / 1e6


class FrameDecoder:
    """A process that decodes the compressed slices of a series; it is started for the first of them.

    It ends when the `with` block is left, and when this process ends.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._end()

    def decode(self, frame: CompressedFrame, content: bytes, source: str) -> NDArray[Any]:
        """Decode a slice.

        Args:
            frame: What is known of it.
            content: Its compressed bytes.
            source: Its file, for messages.

        Returns:
            (rows, columns) words as they are stored, right-aligned.

        Raises:
            FileFormatError: It cannot be decoded; or the process died of it, or took too long.
        """
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(frame.seconds, process.kill)
        watch.start()
        try:
            write_message(process.stdin, asdict(frame), content)
            header, length = read_header(process.stdout)
            if "mistake" in header:
                raise ImportError(f"the process that decodes slices cannot work: {header['mistake']}")
            if "error" in header:
                raise FileFormatError(f"{source}: a compressed slice is damaged; copy the file again")
            dtype = np.dtype(header["dtype"]) if header.get("dtype") in DTYPES else None
            if dtype is None or length != frame.rows * frame.columns * dtype.itemsize:
                raise EOFError
            words = np.frombuffer(read_exactly(process.stdout, length), dtype)
        except (OSError, EOFError, ValueError):
            self._end()
            raise FileFormatError(
                f"{source}: a compressed slice is damaged: its decoder stopped; copy the file again"
            ) from None
        finally:
            watch.cancel()
        return words.reshape(frame.rows, frame.columns)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = start_python(["-m", "embedded_vit.io.dicom.frame_process"])
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            end_python(self._process)
            self._process = None


def write_message(stream: IO[bytes], header: dict[str, Any], content: bytes | memoryview = b"") -> None:
    """Write a header and the bytes that it is about."""
    encoded = json.dumps(header).encode()
    stream.write(LENGTHS.pack(len(encoded), len(content)))
    stream.write(encoded)
    stream.write(content)
    stream.flush()


def read_header(stream: IO[bytes]) -> tuple[dict[str, Any], int]:
    """Read a header; return it, and the number of bytes that follow it.

    Raises:
        EOFError: The other process has ended, or writes something else.
        ValueError: It writes something else.
    """
    length, following = LENGTHS.unpack(read_exactly(stream, LENGTHS.size))
    if length > MOST_HEADER_BYTES:
        raise EOFError
    header = json.loads(read_exactly(stream, length))
    if not isinstance(header, dict):
        raise EOFError
    return header, following


def read_exactly(stream: IO[bytes], length: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: There are fewer.
    """
    content = stream.read(length)
    if len(content) != length:
        raise EOFError
    return content
