"""The step `quantize`: fp16 (half the bytes), bf16 (half the bits in products, if the processor can) or int8."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import nn
from typing_extensions import Self

from embedded_vit.artifact.manifest import GraphPrecision
from embedded_vit.compression.step import Step, StepContext, StepResult
from embedded_vit.compression.steps.backends import check_backends
from embedded_vit.compression.steps.integer_graph import FloatGraph
from embedded_vit.compression.steps.rounded_training import RoundedTraining
from embedded_vit.compression.steps.stored_weights import store_as_half, without_annotations
from embedded_vit.config import nearest_name
from embedded_vit.costs.latency import steady_ratio
from embedded_vit.engines import Engine, EngineChoice, compare, open_graph, open_network
from embedded_vit.errors import ConfigError, FileFormatError
from embedded_vit.export.exporting import LayeredGraph, export_checkpoint, layered_graph
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.checkpoint import Checkpoint

__all__ = ["Quantize"]

COMPARED_SLICES = 8
DAMAGE_SLICES = 8  # one layer alone needs fewer slices to calibrate than all of them


class Quantize(Step):
    """Makes a graph of lower precision; the checkpoint stays in float32.

    fp16 halves the file; a CPU still computes in float32. bf16 changes nothing in the graph: the manifest asks engines
    for bfloat16 products where the processor has them. int8: see `integer_graph`. int8-bf16 is the same graph, and its
    manifest asks for bfloat16 in what stays in float.
    """

    name: ClassVar[str] = "quantize"

    precision: Literal["fp16", "bf16", "int8", "int8-bf16"]
    calibration_slices: int = Field(
        default=64, ge=1, description="int8: training slices that calibrate the ranges of activations"
    )
    keep: tuple[str, ...] = Field(default=(), description="int8: layers to leave in float, for example 'encoder.0.*'")
    qat_epochs: int = Field(
        default=0, ge=0, description="int8: epochs of fine-tuning with rounding before the graph is made"
    )
    qat_learning_rate: float = Field(default=2e-4, gt=0)
    only_if_faster: bool = Field(
        default=False,
        description="int8: keep the float file where the int8 one is not faster, measured on this machine",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.only_if_faster and not self.precision.startswith("int8"):
            raise ValueError(f"quantize: only_if_faster is for int8 and int8-bf16, not for {self.precision}")
        return self

    def apply(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> StepResult:
        """Make the graph and compare it with the float graph; see `Step.apply`.

        Raises:
            ConfigError: A pattern of `keep` matches no layer.
            ContractError: The graph gives other labels at a second call.
        """
        images = context.probe_images(COMPARED_SLICES)
        if self.precision == "bf16":
            return StepResult(before, precision="bf16", facts=_bf16_facts(before, images))
        if self.precision == "fp16":
            model = onnx.load_from_string(_float_graph(before.network, before.config.preprocessing).content)
            store_as_half(model)
            graph = without_annotations(model)
            facts = _facts(graph, before, images, "fp16", context.threads)
            return StepResult(before, graph, "fp16", facts)
        layers = [layer for layer in self.units(before) if layer not in protected]
        graph = self._quantised(before, layers, context)
        speed = _speed(graph, before, self.precision, context, folder)
        if self.only_if_faster and not speed.faster:
            return StepResult(before, facts={"note": f"not taken, the float file stays: {speed}", **speed.facts()})
        after = before
        if self.qat_epochs:
            after = context.train(
                before,
                folder,
                epochs=self.qat_epochs,
                learning_rate=self.qat_learning_rate,
                hooks=[RoundedTraining(layers)],
            )
            graph = self._quantised(after, layers, context)
        facts = {**_facts(graph, after, images, self.precision, context.threads), **speed.facts(), "note": str(speed)}
        return StepResult(after, graph, self.precision, {"layers": len(layers), **facts})

    def _quantised(self, checkpoint: Checkpoint, layers: Sequence[str], context: StepContext) -> bytes:
        prepared = _prepared(checkpoint.network, checkpoint.config.preprocessing)
        return prepared.quantised(layers, context.probe_images(self.calibration_slices))

    def units(self, before: Checkpoint) -> tuple[str, ...]:
        """Return, for int8, the layers with weights except the last one and those to keep in float.

        Raises:
            ConfigError: A pattern of `keep` matches no layer.
        """
        if not self.precision.startswith("int8"):
            return ()
        prepared = _prepared(before.network, before.config.preprocessing)
        known = (*prepared.layers, prepared.last)
        for pattern in self.keep:
            if not any(fnmatch(layer, pattern) for layer in known):
                raise ConfigError(f"quantize: keep '{pattern}' is not a layer{nearest_name(pattern, known)[:200]}")
        return tuple(layer for layer in prepared.layers if not any(fnmatch(layer, pattern) for pattern in self.keep))

    def damaged(self, before: Checkpoint, unit: str, context: StepContext) -> Engine:
        """Return the network with one layer in int8; see `Step.damaged`."""
        prepared = _prepared(before.network, before.config.preprocessing)
        images = context.probe_images(min(DAMAGE_SLICES, self.calibration_slices))
        return open_graph(prepared.quantised([unit], images), threads=context.threads)


@dataclass(frozen=True)
class _Speed:
    """Latency of an int8 file over that of the float file, in the engine of the compression.

    Attributes:
        precision: That of the file.
        engine: The engine.
        ratio: The ratio, measured in turns; None where the engine does not compute the int8 file.
    """

    precision: str
    engine: EngineChoice
    ratio: float | None

    @property
    def faster(self) -> bool:
        """Whether the int8 file is faster."""
        return self.ratio is not None and self.ratio < 1

    def facts(self) -> dict[str, Any]:
        """Return JSON values by name."""
        return {"latency_ratio_to_float": self.ratio, "faster_than_float": self.faster}

    def __str__(self) -> str:
        if self.ratio is None:
            return f"{self.engine} does not compute {self.precision} files"
        verdict = "faster" if self.faster else "NOT FASTER"
        return f"{self.precision} is {verdict} here: {self.ratio:.2f} of the latency of float32 in {self.engine}"


def _speed(
    graph: bytes, checkpoint: Checkpoint, precision: GraphPrecision, context: StepContext, folder: Path
) -> _Speed:
    """Measure an int8 graph in turns with the float graph, as files, in the engine of the compression."""
    float_graph = _float_graph(checkpoint.network, checkpoint.config.preprocessing).content
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        files = Path(temporary, "float.onnx"), Path(temporary, "int8.onnx")
        for path, content, kind in zip(files, (float_graph, graph), ("fp32", precision), strict=True):
            export_checkpoint(checkpoint, path, None, graph=content, precision=kind)
        try:
            ratio, _ = steady_ratio(files[1], files[0], engine=context.engine, threads=context.threads)
        except FileFormatError:  # LiteRT computes no quantized graphs
            return _Speed(precision, context.engine, None)
    return _Speed(precision, context.engine, ratio)


@lru_cache(maxsize=2)  # before and after fine-tuning; ranking the layers asks for both again and again
def _float_graph(network: nn.Module, preprocessing: Preprocessing) -> LayeredGraph:
    return layered_graph(network.float().eval(), preprocessing)


@lru_cache(maxsize=2)
def _prepared(network: nn.Module, preprocessing: Preprocessing) -> FloatGraph:
    return FloatGraph.of(_float_graph(network, preprocessing))


def _facts(
    graph: bytes, checkpoint: Checkpoint, images: Sequence[NDArray[np.float32]], precision: str, threads: int
) -> dict[str, Any]:
    """Compare a graph with PyTorch and in every backend; return JSON values by name."""
    float_graph = _float_graph(checkpoint.network, checkpoint.config.preprocessing).content
    agreement = compare(open_graph(graph, threads=threads), open_network(checkpoint.network), images)
    report = check_backends(graph, float_graph, images, precision=precision, threads=threads)
    return {
        "label_disagreement": agreement.label_disagreement,
        "max_logit_difference": agreement.max_logit_difference,
        "size_ratio": len(graph) / len(float_graph),
        **report.facts(),
    }


def _bf16_facts(checkpoint: Checkpoint, images: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
    """Measure how bfloat16 products change the labels, and tell whether this processor has or emulates them."""
    agreement = compare(open_network(checkpoint.network, precision="bf16"), open_network(checkpoint.network), images)
    return {
        "label_disagreement": agreement.label_disagreement,
        "max_logit_difference": agreement.max_logit_difference,
        "processor_has_bf16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    }
