"""The engines by name: facts that are known before a library is imported, and functions that open an engine.

To add an engine, write its class in a file of this package, and add its name and its entry here. Importing this module
imports no engine and no NumPy, because the command line reads the names before it limits NumPy's threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, get_args

from embedded_vit.errors import ConfigError, missing_extra

if TYPE_CHECKING:
    from torch import nn

    from embedded_vit.engines.engine import Engine, GraphEngine

__all__ = [
    "ENGINES",
    "EngineChoice",
    "EngineEntry",
    "EngineName",
    "check_threads",
    "engine_entry",
    "installed_engines",
    "open_graph",
    "open_network",
]

EngineName = Literal["onnxruntime", "openvino", "litert"]
EngineChoice = Literal[EngineName, "auto"]  # auto: the fastest installed engine for a model file, measured once
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


@dataclass(frozen=True)
class EngineEntry:
    """The facts about an engine that are known before its library is imported.

    Attributes:
        title: The library's name, for messages and tables.
        library: The Python module that the library is imported as.
        package: The library's name on the package index.
        engine: Module of this package and class, joined by a colon.
        int8: Whether it computes quantized graphs.
        bf16: Whether it computes in bfloat16 on x86 processors that have it.
    """

    title: str
    library: str
    package: str
    engine: str
    int8: bool
    bf16: bool

    @property
    def is_installed(self) -> bool:
        """Whether the library can be imported; it is not imported to find out."""
        return find_spec(self.library) is not None

    @property
    def version(self) -> str:
        """The installed library's version; the library is not imported to find out."""
        from importlib.metadata import version  # takes 20 ms, and seldom needed

        return version(self.package)


ENTRIES: dict[EngineName, EngineEntry] = {
    "onnxruntime": EngineEntry(
        "ONNX Runtime", "onnxruntime", "onnxruntime", "onnxruntime:OnnxRuntimeEngine", int8=True, bf16=False
    ),
    "openvino": EngineEntry("OpenVINO", "openvino", "openvino", "openvino:OpenVinoEngine", int8=True, bf16=True),
    "litert": EngineEntry(
        "LiteRT", "ai_edge_litert", "ai-edge-litert", "litert.engine:LiteRtEngine", int8=False, bf16=False
    ),
}


def engine_entry(name: EngineName) -> EngineEntry:
    """Return the entry of an engine.

    Raises:
        ConfigError: There is no engine of this name.
    """
    if name not in ENTRIES:
        raise ConfigError(f"unknown engine '{name}', expected one of {', '.join(ENGINES)}")
    return ENTRIES[name]


def installed_engines() -> tuple[EngineName, ...]:
    """Return the engines that are installed, ONNX Runtime first."""
    return tuple(name for name in ENGINES if ENTRIES[name].is_installed)


def open_graph(
    graph: bytes,
    name: EngineName = "onnxruntime",
    *,
    threads: int | None = None,
    streams: int = 1,
    bf16: bool = False,
    low_precision_transforms: bool = True,
    source: str = "graph",
) -> GraphEngine:
    """Open a serialized ONNX model in an engine.

    The engine is not tried in a process of its own first, as `load` does, so a crash of its compiler ends the program.

    Args:
        graph: A serialized ONNX model with one input and one output.
        name: The engine.
        threads: Cores to compute on; by default all that this process may use.
        streams: Images that are computed at the same time, each on its share of the threads.
        bf16: Compute in bfloat16 where engine and processor can: OpenVINO on x86, ONNX Runtime on some ARM.
        low_precision_transforms: Compute a quantized graph in int8; otherwise in float32 with the same rounding.
            Only OpenVINO makes this difference.
        source: The graph's name in messages.

    Raises:
        ConfigError: The engine is unknown or not installed, `threads` or `streams` is less than 1, or there are more
            streams than threads.
        FileFormatError: The engine cannot load the graph.
    """
    from embedded_vit.engines.engine import GraphSettings
    from embedded_vit.provenance import available_cores

    check_threads(threads, streams)
    settings = GraphSettings(threads or available_cores(), streams, bf16, low_precision_transforms, source)
    return _engine_class(name)(graph, settings)


def open_network(
    network: nn.Module, *, threads: int | None = None, precision: Literal["fp32", "fp16", "bf16"] = "fp32"
) -> Engine:
    """Open a PyTorch network as an engine, so that it is evaluated as a model file is.

    Args:
        network: Maps (B, C, S, S) to logits (B, K, S, S). It is set to inference, float32 and the CPU.
        threads: Threads of the whole process; by default PyTorch's own choice.
        precision: fp16 and bf16 keep the weights in float32 and multiply in 16 bits where autocast does.
    """
    from embedded_vit.engines.torch import TorchEngine

    return TorchEngine(network, threads=threads, precision=precision)


def check_threads(threads: int | None, streams: int) -> None:
    """Check numbers of threads and streams.

    Raises:
        ConfigError: A number is less than 1, or there are more streams than threads.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads must be at least 1, got {threads}")
    if not 1 <= streams <= (threads or streams):
        raise ConfigError(f"streams must be 1 to the number of threads, got {streams}")


def _engine_class(name: EngineName) -> type[GraphEngine]:
    entry = engine_entry(name)
    if not entry.is_installed:
        raise ConfigError(missing_extra(entry.title, name))
    module, _, class_name = entry.engine.partition(":")
    engine_class: type[GraphEngine] = getattr(import_module(f"embedded_vit.engines.{module}"), class_name)
    return engine_class
