"""What an artifact takes: bytes on the disk, bytes when compressed, and memory while it segments one slice."""

from __future__ import annotations

import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedded_vit.errors import FileFormatError
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.runtime.engine import OnnxEngine
from embedded_vit.runtime.segmentation import segment
from embedded_vit.volume import Volume

__all__ = ["Footprint", "footprint", "peak_memory_mib"]

SLICE_PIXELS = 512  # rows and columns of a CT slice
DEFLATE_LEVEL = 6  # what zip and gzip use when nobody asks for another


@dataclass(frozen=True)
class Footprint:
    """Sizes of an artifact.

    Attributes:
        file_bytes: On the disk.
        deflated_bytes: When compressed as zip and gzip do: pruned weights count only here.
        peak_memory_mib: Of a process that loads it and segments one slice, Python and ONNX Runtime included.
    """

    file_bytes: int
    deflated_bytes: int
    peak_memory_mib: float


def footprint(path: Path, *, threads: int = 1) -> Footprint:
    """Measure an artifact.

    Args:
        path: The artifact.
        threads: Cores that the segmentation computes on.

    Raises:
        FileFormatError: The file cannot be read or is no artifact.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot read it: {error.strerror or error}") from error
    return Footprint(len(content), len(zlib.compress(content, DEFLATE_LEVEL)), peak_memory_mib(path, threads=threads))


def peak_memory_mib(path: Path, *, threads: int = 1) -> float:
    """The most memory that a fresh process held while it loaded an artifact and segmented one slice, in MiB.

    Raises:
        FileFormatError: The file is no artifact.
    """
    command = [sys.executable, "-m", "embedded_vit.benchmark.footprint", str(path), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise FileFormatError(f"{path}: cannot measure its memory: {reason:.300}")
    return float(done.stdout)


def _segment_one_slice(path: Path, threads: int) -> None:
    """Load an artifact and segment a slice of 512 x 512 pixels."""
    engine = OnnxEngine.load(path, threads=threads)
    segment(_one_slice(engine.manifest.preprocessing), engine.manifest.preprocessing, engine)


def _one_slice(preprocessing: Preprocessing) -> Volume:
    """A volume of a single slice, (channels, 1, 512, 512), noise over the range of a soft-tissue window."""
    shape = (len(preprocessing.channels), 1, SLICE_PIXELS, SLICE_PIXELS)
    intensities = np.random.default_rng(0).uniform(-125, 275, shape).astype(np.float32)
    return Volume(intensities, np.eye(4), spacing_known=False, source="one slice")


def _own_peak_memory_mib() -> float:
    """This process's peak. Linux's `ru_maxrss` would count the parent's memory too, as it was when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024  # kB
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


if __name__ == "__main__":
    _segment_one_slice(Path(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.write(f"{_own_peak_memory_mib()}\n")
