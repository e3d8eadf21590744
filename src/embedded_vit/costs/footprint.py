"""What an artifact takes: bytes on the disk, bytes when compressed, and memory while it segments one slice."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from embedded_vit.costs.fresh_process import in_fresh_process
from embedded_vit.engines import EngineChoice
from embedded_vit.errors import FileFormatError

__all__ = ["Footprint", "footprint", "peak_memory_mib"]

DEFLATE_LEVEL = 6  # what zip and gzip use when nobody asks for another


@dataclass(frozen=True)
class Footprint:
    """Sizes of an artifact.

    Attributes:
        file_bytes: On the disk.
        deflated_bytes: When compressed as zip and gzip do: pruned weights count only here.
        peak_memory_mib: Of a process that loads it and segments one slice, Python and the engine included.
    """

    file_bytes: int
    deflated_bytes: int
    peak_memory_mib: float


def footprint(path: Path, *, threads: int = 1, engine: EngineChoice = "onnxruntime") -> Footprint:
    """Measure an artifact.

    Args:
        path: The artifact.
        threads: Cores that the segmentation computes on.
        engine: The engine that segments.

    Raises:
        FileFormatError: The file cannot be read or is no artifact.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot read it: {error.strerror or error}") from error
    return Footprint(
        len(content), len(zlib.compress(content, DEFLATE_LEVEL)), peak_memory_mib(path, threads=threads, engine=engine)
    )


def peak_memory_mib(path: Path, *, threads: int = 1, engine: EngineChoice = "onnxruntime") -> float:
    """The most memory that a fresh process held while it loaded an artifact and segmented one slice, in MiB.

    Raises:
        FileFormatError: The file is no artifact.
    """
    return in_fresh_process(path, threads=threads, engine=engine).peak_memory_mib
