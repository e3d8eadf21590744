"""Search for the network that segments best within a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Budget", "SearchRecord", "SearchSettings", "search"]

if TYPE_CHECKING:
    from embedded_vit.search.record import SearchRecord
    from embedded_vit.search.searching import search
    from embedded_vit.search.space import Budget, SearchSettings
else:
    __getattr__, __dir__ = lazily(
        __name__, {"record": ["SearchRecord"], "searching": ["search"], "space": ["Budget", "SearchSettings"]}
    )
