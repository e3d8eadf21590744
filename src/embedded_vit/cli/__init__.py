"""The command line: one file a verb, which parses, calls and prints; no logic lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["main"]

if TYPE_CHECKING:
    from embedded_vit.cli.application import main
else:
    __getattr__, __dir__ = lazily(__name__, {"application": ["main"]})
