"""The trial of an engine on a graph, in a process of its own: whether it compiles and gives the same labels.

A crash of an engine's compiler must not end the program, so another process tries it first. The result is cached for
this graph, this version of the engine, this version of ours (which may translate the graph) and this processor.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from pydantic import Field

from embedded_vit.about import __version__
from embedded_vit.config import Config
from embedded_vit.engines.agreement import DECIDED, MAXIMUM_DISAGREEMENT, logits_of, open_agreeing
from embedded_vit.engines.engine import GraphEngine
from embedded_vit.engines.example_inputs import soft_images
from embedded_vit.engines.registry import EngineName, engine_entry, open_graph
from embedded_vit.errors import ConfigError, FileFormatError, missing_extra
from embedded_vit.fresh_python import run_python
from embedded_vit.io.cache import recall, remember
from embedded_vit.provenance import processor_name

__all__ = ["Trial", "open_tried", "try_here"]

TRIALS = "engine-trials"  # the file of the cache
SECONDS_LIMIT = 300


class Trial(Config):
    """The result of a trial."""

    failure: str = Field(default="", description="why the engine cannot be used; empty where it can")
    low_precision_transforms: bool = Field(default=True, description="whether OpenVINO computes in int8")


def open_tried(
    path: Path,
    graph: bytes,
    name: EngineName,
    *,
    threads: int | None = None,
    streams: int = 1,
    bf16: bool = False,
    int8: bool = False,
) -> GraphEngine:
    """Open a graph in an engine after a trial in a process of its own; ONNX Runtime is opened without a trial.

    Args:
        path: The file of the graph.
        graph: The file's content, a serialized ONNX model.
        name: The engine.
        threads, streams, bf16: As `embedded_vit.engines.open_graph` takes them.
        int8: Whether the graph is quantized.

    Raises:
        ConfigError: The engine is not installed.
        FileFormatError: The engine crashes on the graph, refuses it or gives other labels than ONNX Runtime.
    """
    transforms = True
    if name != "onnxruntime":
        transforms = _tried(path, graph, name, bf16=bf16, int8=int8).low_precision_transforms
    return open_graph(
        graph,
        name,
        threads=threads,
        streams=streams,
        bf16=bf16,
        low_precision_transforms=transforms,
        source=str(path),
    )


def _tried(path: Path, graph: bytes, engine: EngineName, *, bf16: bool, int8: bool) -> Trial:
    """Try an engine, or read the cached result of an earlier trial."""
    entry = engine_entry(engine)
    if not entry.is_installed:
        raise ConfigError(missing_extra(entry.title, engine))
    if int8 and not entry.int8:
        raise FileFormatError(f"{path}: {entry.title} does not compute quantized networks; use --engine onnxruntime")
    rule = f"{MAXIMUM_DISAGREEMENT} beyond {DECIDED}"  # a failure under another rule says nothing
    sha256 = hashlib.sha256(graph).hexdigest()
    key = f"{sha256} {engine} {entry.version} embedded-vit {__version__} {rule} {processor_name()}"
    known = recall(TRIALS, key)
    trial = Trial.parse(known, source=TRIALS) if isinstance(known, dict) else _try_apart(path, engine, bf16, int8)
    if known is None:
        remember(TRIALS, key, trial.model_dump())
    if trial.failure:
        raise FileFormatError(f"{path}: {engine} {trial.failure}; use --engine onnxruntime")
    return trial


def _try_apart(path: Path, engine: EngineName, bf16: bool, int8: bool) -> Trial:
    flags = [flag for flag, is_on in (("bf16", bf16), ("int8", int8)) if is_on]
    try:
        done = run_python(["-m", "embedded_vit.engines.trial", str(path), engine, *flags], seconds_limit=SECONDS_LIMIT)
    except subprocess.TimeoutExpired:
        return Trial(failure=f"did not finish within {SECONDS_LIMIT} seconds")
    if done.returncode != 0:
        return Trial(failure=f"crashed on it (exit status {done.returncode})")
    return Trial.parse(json.loads(done.stdout.splitlines()[-1]), source="trial")


def try_here(path: Path, engine: EngineName, *, bf16: bool = False, int8: bool = False) -> Trial:
    """Run example images twice and compare their labels with ONNX Runtime's; arguments as in `open_tried`."""
    graph, source = path.read_bytes(), str(path)
    reference = open_graph(graph, threads=1, bf16=bf16, source=source)
    _, channels, size, _ = reference.inputs[0].shape
    assert channels is not None
    assert size is not None
    images = soft_images(channels, size)
    expected = logits_of(reference, images)
    if expected is None:
        return Trial(failure="cannot be compared: ONNX Runtime gives other labels at a second call")
    found = open_agreeing(
        graph, engine, expected, images, int8=int8, decided_only=True, threads=1, bf16=bf16, source=source
    )
    if found.engine is None:
        return Trial(failure=found.failure)
    return Trial(low_precision_transforms=found.low_precision_transforms)


if __name__ == "__main__":
    [_, path_, engine_, *flags_] = sys.argv
    trial_ = try_here(Path(path_), engine_, bf16="bf16" in flags_, int8="int8" in flags_)  # type: ignore[arg-type]
    sys.stdout.write(f"{trial_.model_dump_json()}\n")
