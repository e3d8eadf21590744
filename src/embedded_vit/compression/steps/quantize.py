"""Lower precision: half the bytes (fp16), half the bits where the processor can (bf16), or integers (int8)."""

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

    fp16 halves the file; on a CPU everything is still computed in float32. bf16 changes nothing in the file: its
    manifest asks engines on processors that have it for bfloat16 products. int8: see `integer_graph`; int8-bf16 is the
    same graph, whose manifest asks for bfloat16 in what stays in float.
    """

    name: ClassVar[str] = "quantize"

    precision: Literal["fp16", "bf16", "int8", "int8-bf16"]
    calibration_slices: int = Field(default=64, ge=1, description="int8: training slices that set activations' ranges")
    keep: tuple[str, ...] = Field(default=(), description="int8: layers to leave in float, for example 'encoder.0.*'")
    qat_epochs: int = Field(default=0, ge=0, description="int8: epochs of fine-tuning with roundings, before")
    qat_learning_rate: float = Field(default=2e-4, gt=0)

    def apply(self, before: Checkpoint, context: StepContext, folder: Path, protected: frozenset[str]) -> StepResult:
        """Make the graph and compare it with the float one; see `Step.apply`.

        Raises:
            ConfigError: `keep` names no layer.
            ContractError: The graph does not give the same labels twice.
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
        """int8: the layers with weights, but for the last one and those to keep.

        Raises:
            ConfigError: `keep` names no layer.
        """
        if not self.precision.startswith("int8"):
            return ()
        prepared = _prepared(before.network, before.config.preprocessing)
        known = (*prepared.layers, prepared.last)
        for pattern in self.keep:
            if not any(fnmatch(layer, pattern) for layer in known):
                raise ConfigError(f"quantize: keep '{pattern}' is no layer{nearest_name(pattern, known)[:200]}")
        return tuple(layer for layer in prepared.layers if not any(fnmatch(layer, pattern) for pattern in self.keep))

    def damaged(self, before: Checkpoint, unit: str, context: StepContext) -> Engine:
        """The network with one layer in integers."""
        prepared = _prepared(before.network, before.config.preprocessing)
        images = context.probe_images(min(DAMAGE_SLICES, self.calibration_slices))
        return open_graph(prepared.quantised([unit], images), threads=context.threads)


@lru_cache(maxsize=2)  # before and after fine-tuning; a sensitivity sweep asks for them layer by layer
def _float_graph(network: nn.Module, preprocessing: Preprocessing) -> LayeredGraph:
    return layered_graph(network.float().eval(), preprocessing)


@lru_cache(maxsize=2)
def _prepared(network: nn.Module, preprocessing: Preprocessing) -> FloatGraph:
    return FloatGraph.of(_float_graph(network, preprocessing))


def _facts(
    graph: bytes, checkpoint: Checkpoint, images: Sequence[NDArray[np.float32]], precision: str, threads: int
) -> dict[str, Any]:
    """How far a graph is from PyTorch, and what the backends make of it."""
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
    """What bfloat16 products do to the labels, and whether this processor has them or only emulates them."""
    agreement = compare(open_network(checkpoint.network, precision="bf16"), open_network(checkpoint.network), images)
    return {
        "label_disagreement": agreement.label_disagreement,
        "max_logit_difference": agreement.max_logit_difference,
        "processor_has_bf16": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    }
