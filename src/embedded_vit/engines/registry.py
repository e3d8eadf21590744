"""The engines by name, and a graph given to one of them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal, get_args

from embedded_vit.artifact.manifest import Manifest
from embedded_vit.engines.engine import GraphEngine
from embedded_vit.engines.litert.engine import LITERT_PACKAGE, LiteRtEngine, litert_is_installed
from embedded_vit.engines.onnxruntime_engine import OnnxRuntimeEngine
from embedded_vit.engines.openvino_engine import OpenVinoEngine, openvino_is_installed

__all__ = ["ENGINES", "EngineName", "engine_version", "installed_engines", "make_graph_engine"]

EngineName = Literal["onnxruntime", "openvino", "litert"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


def installed_engines() -> tuple[EngineName, ...]:
    """The engines that this computer has, the default one first."""
    there = {"onnxruntime": True, "openvino": openvino_is_installed(), "litert": litert_is_installed()}
    return tuple(engine for engine in ENGINES if there[engine])


def engine_version(engine: EngineName) -> str:
    """The version of an installed engine; does not import it."""
    return version(LITERT_PACKAGE if engine == "litert" else engine)


def make_graph_engine(
    content: bytes,
    manifest: Manifest,
    engine: EngineName,
    *,
    threads: int | None,
    streams: int = 1,
    low_precision_transforms: bool,
    source: str,
) -> GraphEngine:
    """Give an artifact's content to an engine, untried; arguments and errors as those of the engines."""
    bf16 = manifest.in_bfloat16
    if engine == "onnxruntime":
        return OnnxRuntimeEngine(content, threads=threads, streams=streams, bf16=bf16, source=source)
    if engine == "litert":
        return LiteRtEngine(content, threads=threads, streams=streams, source=source)
    return OpenVinoEngine(
        content,
        threads=threads,
        streams=streams,
        bf16=bf16,
        low_precision_transforms=low_precision_transforms,
        source=source,
    )
