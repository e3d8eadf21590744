"""One command from a labelled data set to a model file and a page about it: plan, train, compress, export, score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["build"]

if TYPE_CHECKING:
    from embedded_vit.build.building import build
else:
    __getattr__, __dir__ = lazily(__name__, {"building": ["build"]})
