"""The networks, in PyTorch: the published ones, ours, and a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["NETWORKS", "NetworkConfig", "build_network", "load_reference", "network_config", "read_reference_file"]

if TYPE_CHECKING:
    from embedded_vit.models.reference_checkpoint import load_reference, read_reference_file
    from embedded_vit.models.registry import NETWORKS, NetworkConfig, build_network, network_config
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "reference_checkpoint": ["load_reference", "read_reference_file"],
            "registry": ["NETWORKS", "NetworkConfig", "build_network", "network_config"],
        },
    )
