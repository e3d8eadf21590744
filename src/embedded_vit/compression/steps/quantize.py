"""The step `quantize`: fp16 (half the bytes), bf16 (half the bits in products, if the processor can) or int8."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from embedded_vit.compression.step import Step, StepContext, StepResult
from embedded_vit.compression.steps.backends import check_backends
from embedded_vit.compression.steps.integer_graph import FloatGraph
from embedded_vit.compression.steps.rounded_training import RoundedTraining
from embedded_vit.compression.steps.stored_weights import store_as_half, without_annotations
from embedded_vit.config import nearest_name
from embedded_vit.engines import Engine, compare, open_graph, open_network
from embedded_vit.errors import ConfigError
from embedded_vit.export.exporting import LayeredGraph, layered_graph
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
        after = before
        if self.qat_epochs:
            after = context.train(
                before,
                folder,
                epochs=self.qat_epochs,
                learning_rate=self.qat_learning_rate,
                hooks=[RoundedTraining(layers)],
            )
        prepared = _prepared(after.network, after.config.preprocessing)
        graph = prepared.quantised(layers, context.probe_images(self.calibration_slices))
        facts = _facts(graph, after, images, self.precision, context.threads)
        return StepResult(after, graph, self.precision, {"layers": len(layers), **facts})

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
