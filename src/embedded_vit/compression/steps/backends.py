"""A graph in every installed engine: whether the labels agree, and which engine is fastest on this computer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.costs.latency import paired_latency_of
from embedded_vit.engines import (
    ENGINES,
    Candidate,
    Engine,
    engine_entry,
    installed_engines,
    logits_of,
    open_agreeing,
    open_graph,
)
from embedded_vit.errors import ContractError, FileFormatError

__all__ = ["BackendReport", "EngineReport", "check_backends"]

REFERENCE = "onnxruntime"
REPEATS, SECONDS_LIMIT = 15, 30.0


@dataclass(frozen=True)
class EngineReport:
    """How well an engine agrees with ONNX Runtime on a graph's labels.

    Attributes:
        how: How the engine runs the graph: "as it is", "without low-precision transforms", "not at all", or
            "not installed".
        disagreement: Fraction of the pixels whose label differs, at best; None where nothing was compared.
    """

    how: str
    disagreement: float | None

    @classmethod
    def of(cls, candidate: Candidate) -> Self:
        """Describe an engine that was given the graph."""
        if candidate.engine is None:
            return cls("not at all", candidate.disagreement)
        transforms = candidate.low_precision_transforms
        return cls("as it is" if transforms else "without low-precision transforms", candidate.disagreement)


@dataclass(frozen=True)
class BackendReport:
    """The result of `check_backends`.

    Attributes:
        latency_ms: Median latency of one image by engine and precision, for example "openvino int8".
        fastest: The key of the lowest latency.
        engines: A report on every engine but ONNX Runtime.
    """

    latency_ms: dict[str, float]
    fastest: str
    engines: dict[str, EngineReport]

    def facts(self) -> dict[str, Any]:
        """Return values for `compression.json`: "openvino", "openvino_disagreement", and the same for other engines."""
        facts: dict[str, Any] = {"latency_ms": self.latency_ms, "fastest": self.fastest}
        for name, report in self.engines.items():
            facts |= {name: report.how, f"{name}_disagreement": report.disagreement}
        return facts


def check_backends(
    graph: bytes, float_graph: bytes, images: Sequence[NDArray[np.float32]], *, precision: str, threads: int = 1
) -> BackendReport:
    """Run a graph in every installed engine, compare the labels, and time it in turns with the float graph.

    Args:
        graph: A serialized ONNX model.
        float_graph: The same network in float32.
        images: Real slices, each (1, C, S, S) float32.
        precision: The precision of `graph`, as a manifest names it.
        threads: Threads to compute on.

    Raises:
        ContractError: ONNX Runtime gives other labels at a second call.
    """
    reference = open_graph(graph, threads=threads)
    expected = logits_of(reference, images)
    if expected is None:
        raise ContractError(f"quantize: ONNX Runtime gives other labels at a second call of the {precision} graph")
    float_reference = open_graph(float_graph, threads=threads)
    engines: dict[str, Engine] = {f"{REFERENCE} fp32": float_reference, f"{REFERENCE} {precision}": reference}
    reports: dict[str, EngineReport] = {}
    is_int8 = precision.startswith("int8")
    for name in ENGINES:
        if name == REFERENCE:
            continue
        if name not in installed_engines():
            reports[name] = EngineReport("not installed", None)
            continue
        with suppress(FileFormatError):  # an engine may lack an operator of a user's own network
            engines[f"{name} fp32"] = open_graph(float_graph, name, threads=threads)
        if is_int8 and not engine_entry(name).int8:
            reports[name] = EngineReport("not at all", None)
            continue
        found = open_agreeing(
            graph,
            name,
            expected,
            images,
            int8=is_int8,
            bf16=precision.endswith("bf16"),
            threads=threads,
        )
        reports[name] = EngineReport.of(found)
        if found.engine is not None:
            engines[f"{name} {precision}"] = found.engine
    measured = paired_latency_of(
        list(engines.values()), [images[0]] * len(engines), repeats=REPEATS, seconds_limit=SECONDS_LIMIT
    )
    latency_ms = {name: round(latency.p50_ms, 3) for name, latency in zip(engines, measured, strict=True)}
    return BackendReport(latency_ms, min(latency_ms, key=lambda name: latency_ms[name]), reports)
