"""Folding: what the forward pass of every network here does already, reported for the network at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from embedded_vit.benchmark.complexity import complexity
from embedded_vit.compression.step import Product, Step, Workshop
from embedded_vit.models.published_form import PublishedForm
from embedded_vit.models.reference_checkpoint import to_reference
from embedded_vit.training.checkpoint import Checkpoint

__all__ = ["Fold"]

COMPARED_SLICES = 8


class Fold(Step):
    """Exact: changes nothing, and says how many operations the folded form saves and how far its logits deviate."""

    name: ClassVar[str] = "fold"

    def apply(self, before: Checkpoint, workshop: Workshop, folder: Path, protected: frozenset[str]) -> Product:
        """Compare both forms; see `Step.apply`. A user's own network or one that lost channels has no published form."""
        config = before.config.network
        costs = complexity(config, input_channels=before.config.preprocessing.input_channels)
        facts: dict[str, Any] = {"published_macs": costs.naive_macs, "macs": costs.macs, "largest_deviation": None}
        if costs.naive_macs is not None:
            published = PublishedForm(to_reference(before.network, stages=len(config.widths)))
            with torch.inference_mode():
                deviations = [
                    (published(image) - before.network(image)).abs().max().item()
                    for image in map(torch.from_numpy, workshop.probe_images(COMPARED_SLICES))
                ]
            facts["largest_deviation"] = max(deviations)
        return Product(before, facts=facts)
