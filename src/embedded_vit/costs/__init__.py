"""The costs of a network or a model file: parameters, MACs, latency, memory, energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Latency", "count_macs", "paired_latency"]

if TYPE_CHECKING:
    from embedded_vit.costs.graph_macs import count_macs
    from embedded_vit.costs.latency import Latency, paired_latency
else:
    __getattr__, __dir__ = lazily(__name__, {"graph_macs": ["count_macs"], "latency": ["Latency", "paired_latency"]})
