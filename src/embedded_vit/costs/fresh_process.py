"""The cold start: time by stage, and memory, of a fresh process until its first slice is segmented."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.engines import EngineChoice, load
from embedded_vit.errors import FileFormatError
from embedded_vit.fresh_python import run_python
from embedded_vit.predict.segmentation import segment
from embedded_vit.preprocessing import CT_WINDOW_HU, Preprocessing
from embedded_vit.volume import UPRIGHT_AFFINE, Volume

__all__ = ["FreshProcess", "in_fresh_process"]

SLICE_PIXELS = 512  # rows and columns of a CT slice

# A program and not `python -m`, which would import our package before the clock starts.
PROGRAM = """
import time
began = time.perf_counter()
import embedded_vit.predict.predictor
from embedded_vit.costs.fresh_process import report_first_slice
report_first_slice(began)
"""


class FreshProcess(Config):
    """Time and memory from the interpreter's first line to the first mask."""

    import_ms: float = Field(description="time to import what prediction imports, without the start of Python itself")
    load_ms: float = Field(description="time to read and verify the artifact and open the engine")
    first_slice_ms: float = Field(description="time to segment the first slice of 512 x 512 pixels")
    peak_memory_mib: float = Field(description="peak memory of the process, Python and the engine included")


def in_fresh_process(path: Path, *, threads: int = 1, engine: EngineChoice = "onnxruntime") -> FreshProcess:
    """Load an artifact in a process of its own, segment one slice there, and return time and memory.

    Raises:
        FileFormatError: The file is not an artifact, or the process failed.
    """
    done = run_python(["-c", PROGRAM, str(path), str(threads), engine])
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise FileFormatError(f"{path}: cannot measure a fresh process with it: {reason:.300}")
    return FreshProcess.parse(json.loads(done.stdout), source="fresh process")


def report_first_slice(began: float) -> None:
    """Run inside the fresh process: load, segment, and print a `FreshProcess` as JSON.

    Args:
        began: When the process began, by `time.perf_counter`.
    """
    imported = time.perf_counter()
    [_, path, threads, engine_name] = sys.argv
    engine = load(path, engine_name, threads=int(threads), streams=int(threads))  # type: ignore[arg-type]
    loaded = time.perf_counter()
    volume = _one_slice(engine.manifest.preprocessing)
    ready = time.perf_counter()
    segment(volume, engine.manifest.contract, engine)
    segmented = time.perf_counter()
    found = FreshProcess(
        import_ms=1000 * (imported - began),
        load_ms=1000 * (loaded - imported),
        first_slice_ms=1000 * (segmented - ready),
        peak_memory_mib=_own_peak_memory_mib(),
    )
    sys.stdout.write(found.model_dump_json())


def _one_slice(preprocessing: Preprocessing) -> Volume:
    """Make one slice in training orientation, (channels, 1, 512, 512): noise over the soft-tissue window in HU."""
    shape = (len(preprocessing.channels), 1, SLICE_PIXELS, SLICE_PIXELS)
    intensities = np.random.default_rng(0).uniform(*CT_WINDOW_HU, shape).astype(np.float32)
    return Volume(intensities, UPRIGHT_AFFINE, spacing_known=False, source="one slice")


def _own_peak_memory_mib() -> float:
    """Return the peak memory of this process in MiB, read from /proc where that exists.

    Linux's `ru_maxrss` would also count the memory of the parent at the time of the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024  # kB
    try:
        import resource
    except ModuleNotFoundError as error:  # Windows
        raise NotImplementedError("the peak memory of a process can be read on Linux and macOS only") from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
