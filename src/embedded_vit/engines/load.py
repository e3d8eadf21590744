"""An artifact loaded into an engine.

A crash of an engine's compiler must not take the program down, and an engine must not give other masks than ONNX
Runtime, in which every artifact was checked when it was made. So before another engine is first given an artifact, a
process of its own tries it (`embedded_vit.engines.trial`), and what came out is remembered for this artifact, this
version of the engine, this version of ours (which may translate it) and this processor.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from embedded_vit.artifact.manifest import read_artifact
from embedded_vit.engines.engine import ArtifactEngine
from embedded_vit.engines.registry import ENGINES, EngineName, make_graph_engine
from embedded_vit.engines.trial import tried
from embedded_vit.errors import ConfigError

__all__ = ["EngineName", "load_engine"]


def load_engine(
    path: str | Path, engine: EngineName = "onnxruntime", *, threads: int | None = None, streams: int = 1
) -> ArtifactEngine:
    """Load an artifact.

    Args:
        path: A `.onnx` file made by `embedded-vit export`.
        engine: What computes.
        threads: Cores to compute on; by default all that this process may use.
        streams: Images that are computed at the same time, each on its share of the threads. A scan is done soonest
            with a thread a slice, a single image with all threads in one stream.

    Raises:
        FileFormatError: The file is no artifact, is damaged, its graph is not what its manifest says, or the engine
            cannot run it.
        ConfigError: `threads` or `streams` is less than 1, there are more streams than threads, or the engine is
            unknown or not installed.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    if not 1 <= streams <= (threads or streams):
        raise ConfigError(f"streams must be 1 to the number of threads, got {streams}")
    if engine not in ENGINES:
        raise ConfigError(f"unknown engine {engine!r}, expected one of {', '.join(ENGINES)}")
    content, manifest = read_artifact(path)
    transforms = True
    if engine != "onnxruntime":
        transforms = tried(Path(path), hashlib.sha256(content).hexdigest(), engine).low_precision_transforms
    graph = make_graph_engine(
        content,
        manifest,
        engine,
        threads=threads,
        streams=streams,
        low_precision_transforms=transforms,
        source=str(path),
    )
    return ArtifactEngine(graph, manifest, name=engine, source=str(path))
