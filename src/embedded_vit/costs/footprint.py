"""The footprint of an artifact: bytes on the disk, bytes when compressed, and memory while it segments one slice."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from embedded_vit.costs.fresh_process import in_fresh_process
from embedded_vit.engines import EngineChoice
from embedded_vit.errors import FileFormatError

__all__ = ["Footprint", "footprint", "peak_memory_mib"]

DEFLATE_LEVEL = 6  # the default of zip and gzip


@dataclass(frozen=True)
class Footprint:
    """Sizes of an artifact.

    Attributes:
        file_bytes: Size on the disk.
        deflated_bytes: Size after compression as in zip and gzip; zero weights make only this one smaller.
        peak_memory_mib: Peak memory of a process that loads the artifact and segments one slice, in MiB; Python and
            the engine are included.
    """

    file_bytes: int
    deflated_bytes: int
    peak_memory_mib: float


def footprint(path: Path, *, threads: int = 1, engine: EngineChoice = "onnxruntime") -> Footprint:
    """Measure the footprint of an artifact.

    Args:
        path: The artifact.
        threads: Threads of the segmentation.
        engine: The engine that segments.

    Raises:
        FileFormatError: The file cannot be read or is not an artifact.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot read it: {error.strerror or error}") from error
    return Footprint(
        len(content), len(zlib.compress(content, DEFLATE_LEVEL)), peak_memory_mib(path, threads=threads, engine=engine)
    )


def peak_memory_mib(path: Path, *, threads: int = 1, engine: EngineChoice = "onnxruntime") -> float:
    """Measure the peak memory, in MiB, of a fresh process that loads an artifact and segments one slice.

    Raises:
        FileFormatError: The file is not an artifact.
    """
    return in_fresh_process(path, threads=threads, engine=engine).peak_memory_mib
