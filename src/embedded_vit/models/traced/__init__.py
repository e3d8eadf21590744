"""A user's network as the graph of its operations, in which channels that belong together are found and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["TracedNetwork"]

if TYPE_CHECKING:
    from embedded_vit.models.traced.network import TracedNetwork
else:
    __getattr__, __dir__ = lazily(__name__, {"network": ["TracedNetwork"]})
