"""What the engines at hand make of a graph: whether they agree, and which of them is fastest on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedded_vit.costs.latency import paired_latency_of
from embedded_vit.engines.agreement import compare
from embedded_vit.engines.engine import Engine
from embedded_vit.engines.litert.engine import LiteRtEngine, litert_is_installed
from embedded_vit.engines.onnxruntime_engine import OnnxRuntimeEngine
from embedded_vit.engines.openvino_engine import OpenVinoEngine, openvino_is_installed
from embedded_vit.engines.trial import MAXIMUM_DISAGREEMENT
from embedded_vit.errors import ContractError, FileFormatError

__all__ = ["BackendReport", "check_backends"]

REPEATS, SECONDS_LIMIT = 15, 30.0


@dataclass(frozen=True)
class BackendReport:
    """What `check_backends` found.

    Attributes:
        latency_ms: Median of one image by backend and precision, for example "openvino int8".
        fastest: The key of the lowest.
        openvino: How OpenVINO gives the labels of ONNX Runtime: "as it is", "without low-precision transforms",
            "not at all", or "not installed".
        openvino_disagreement: Part of the pixels whose label it gives differently; None where it is not installed.
    """

    latency_ms: dict[str, float]
    fastest: str
    openvino: str
    openvino_disagreement: float | None


def check_backends(
    graph: bytes, float_graph: bytes, images: Sequence[NDArray[np.float32]], *, precision: str, threads: int = 1
) -> BackendReport:
    """Run a graph in every backend at hand, compare their labels, and measure them against the float graph in turns.

    Args:
        graph: A serialized ONNX model.
        float_graph: The same network in float32.
        images: Real slices, each (1, C, S, S) float32.
        precision: Of `graph`, as a manifest would have it.
        threads: Cores to compute on.

    Raises:
        ContractError: ONNX Runtime does not give the same labels twice.
    """
    reference = OnnxRuntimeEngine(graph, threads=threads)
    if not _repeats(reference, images):
        raise ContractError(f"quantize: ONNX Runtime gives other labels at a second call of the {precision} graph")
    engines: dict[str, Engine] = {
        "onnxruntime fp32": OnnxRuntimeEngine(float_graph, threads=threads),
        f"onnxruntime {precision}": reference,
    }
    if litert_is_installed():  # which has no integers
        with suppress(FileFormatError):  # nor every operator that a network of the user's own may have
            engines["litert fp32"] = LiteRtEngine(float_graph, threads=threads)
    openvino, disagreement = "not installed", None
    if openvino_is_installed():
        engines["openvino fp32"] = OpenVinoEngine(float_graph, threads=threads)
        openvino, disagreement, engine = _openvino(graph, reference, images, threads, bf16=precision.endswith("bf16"))
        if engine is not None:
            engines[f"openvino {precision}"] = engine
    measured = paired_latency_of(
        list(engines.values()), [images[0]] * len(engines), repeats=REPEATS, seconds_limit=SECONDS_LIMIT
    )
    latency_ms = {name: round(latency.p50_ms, 3) for name, latency in zip(engines, measured, strict=True)}
    return BackendReport(latency_ms, min(latency_ms, key=lambda name: latency_ms[name]), openvino, disagreement)


def _openvino(
    graph: bytes, reference: Engine, images: Sequence[NDArray[np.float32]], threads: int, *, bf16: bool
) -> tuple[str, float, OpenVinoEngine | None]:
    """How OpenVINO agrees with ONNX Runtime, how far at best, and the engine that does."""
    nearest = 1.0
    for transforms, how in ((True, "as it is"), (False, "without low-precision transforms")):
        engine = OpenVinoEngine(graph, threads=threads, bf16=bf16, low_precision_transforms=transforms)
        disagreement = compare(engine, reference, images).label_disagreement
        nearest = min(nearest, disagreement)
        if disagreement <= MAXIMUM_DISAGREEMENT and _repeats(engine, images):
            return how, disagreement, engine
    return "not at all", nearest, None


def _repeats(engine: Engine, images: Sequence[NDArray[np.float32]]) -> bool:
    """Whether an engine gives the same labels twice."""
    return compare(engine, engine, images).label_disagreement == 0
