"""One HTML page that compares runs, with Markdown and CSV beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["write_report"]

if TYPE_CHECKING:
    from embedded_vit.report.write import write_report
else:
    __getattr__, __dir__ = lazily(__name__, {"write": ["write_report"]})
