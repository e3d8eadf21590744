"""Folding: the same function with fewer operations. Our networks always run folded; this step shows what it brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from embedded_vit.compression.step import Product, Step, Workshop
from embedded_vit.costs.complexity import complexity
from embedded_vit.engines import compare, open_network
from embedded_vit.models.published_form import PublishedForm
from embedded_vit.models.reference_checkpoint import to_reference
from embedded_vit.models.registry import NetworkConfig
from embedded_vit.training.checkpoint import Checkpoint

__all__ = ["Fold"]

COMPARED_SLICES = 16


class Fold(Step):
    """Counts operations before and after folding, and compares the logits of both forms on real slices.

    Nothing changes: checkpoints keep the plain parameters, and the forward pass computes the folded expressions.
    """

    name: ClassVar[str] = "fold"

    def apply(self, before: Checkpoint, workshop: Workshop, folder: Path, protected: frozenset[str]) -> Product:
        """Compare both forms; see `Step.apply`."""
        config = before.config
        costs = complexity(config.network, input_channels=config.preprocessing.input_channels)
        facts: dict[str, Any] = {"published_macs": costs.naive_macs, "macs": costs.macs, "largest_deviation": None}
        if costs.naive_macs is None:
            return Product(before, facts=facts | {"not_compared": f"the network {_why_unpublished(config.network)}"})
        published = _Published(before.network.float().cpu(), stages=len(config.network.widths))
        images = workshop.probe_images(COMPARED_SLICES)
        agreement = compare(open_network(before.network, threads=workshop.threads), published, images)
        agreement.check("fold: the folded form against the published one")
        facts["largest_deviation"] = agreement.max_logit_difference
        facts["label_disagreement"] = agreement.label_disagreement
        facts["slices"] = agreement.images
        return Product(before, facts=facts)


class _Published:
    """The published form of a network as an engine."""

    streams = 1

    def __init__(self, network: nn.Module, *, stages: int) -> None:
        self._form = PublishedForm(to_reference(network, stages=stages))

    def run(self, image_bchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits: (B, C, S, S) float32 -> (B, K, S, S) float32."""
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._form(torch.from_numpy(image_bchw)).numpy()
        return logits


def _why_unpublished(config: NetworkConfig) -> str:
    if config.model is not None:
        return "is the user's own: it has no published form"
    if config.kept_channels:
        return "has had channels removed: it has no published form"
    return "has convolutions around the transformer: it has no published form"
