"""A model file loaded into an engine that is chosen by name or by measurement."""

from __future__ import annotations

from pathlib import Path

from embedded_vit.engines.artifact_engine import ArtifactEngine, load_tried
from embedded_vit.engines.registry import ENGINES, EngineChoice, check_threads
from embedded_vit.errors import ConfigError
from embedded_vit.provenance import available_cores

__all__ = ["load"]


def load(
    path: str | Path, engine: EngineChoice = "onnxruntime", *, threads: int | None = None, streams: int = 1
) -> ArtifactEngine:
    """Load a model file.

    Args:
        path: A `.onnx` file made by `embedded-vit export`.
        engine: The engine. "auto" takes the fastest installed one, measured once for this file and this computer.
        threads: Cores to compute on; by default all that this process may use.
        streams: Images that are computed at the same time, each on its share of the threads. A scan is done soonest
            with one thread per slice, a single image with all threads in one stream.

    Raises:
        FileFormatError: The file is not an artifact, is damaged, its graph is not what its manifest says, or the engine
            cannot run it.
        ConfigError: `threads` or `streams` is less than 1, there are more streams than threads, or the engine is
            unknown or not installed.
    """
    check_threads(threads, streams)
    if engine == "auto":
        from embedded_vit.engines.fastest import fastest_engine  # what measures is not loaded for an engine by name

        threads = threads or available_cores()
        engine = fastest_engine(Path(path), threads=max(1, threads // streams)).engine
    elif engine not in ENGINES:
        raise ConfigError(f"unknown engine '{engine}', expected one of {', '.join(ENGINES)}, auto")
    return load_tried(Path(path), engine, threads=threads, streams=streams)
