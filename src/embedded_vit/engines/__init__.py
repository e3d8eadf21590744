"""Inference: the one door to every engine that computes a network's logits.

`load` opens a model file, `open_graph` a serialized ONNX model, `open_network` a PyTorch network. An engine is chosen
by its name. A new engine is a file of this package and an entry in `registry.py`; nothing outside this package names
an engine's library or class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = [
    "ENGINES",
    "Agreement",
    "ArtifactEngine",
    "Candidate",
    "Engine",
    "EngineChoice",
    "EngineName",
    "FastestEngine",
    "GraphEngine",
    "compare",
    "engine_entry",
    "example_image",
    "executed_nodes",
    "fastest_engine",
    "fastest_for_graph",
    "grainy_images",
    "installed_engines",
    "load",
    "logits_of",
    "open_agreeing",
    "open_graph",
    "open_network",
]

if TYPE_CHECKING:
    from embedded_vit.engines.agreement import Agreement, Candidate, compare, logits_of, open_agreeing
    from embedded_vit.engines.artifact_engine import ArtifactEngine
    from embedded_vit.engines.engine import Engine, GraphEngine
    from embedded_vit.engines.example_inputs import example_image, grainy_images
    from embedded_vit.engines.fastest import FastestEngine, fastest_engine, fastest_for_graph
    from embedded_vit.engines.loading import load
    from embedded_vit.engines.onnxruntime import executed_nodes
    from embedded_vit.engines.registry import (
        ENGINES,
        EngineChoice,
        EngineName,
        engine_entry,
        installed_engines,
        open_graph,
        open_network,
    )
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "agreement": ["Agreement", "Candidate", "compare", "logits_of", "open_agreeing"],
            "artifact_engine": ["ArtifactEngine"],
            "engine": ["Engine", "GraphEngine"],
            "example_inputs": ["example_image", "grainy_images"],
            "fastest": ["FastestEngine", "fastest_engine", "fastest_for_graph"],
            "loading": ["load"],
            "onnxruntime": ["executed_nodes"],
            "registry": [
                "ENGINES",
                "EngineChoice",
                "EngineName",
                "engine_entry",
                "installed_engines",
                "open_graph",
                "open_network",
            ],
        },
    )
