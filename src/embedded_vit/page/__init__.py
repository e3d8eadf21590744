"""One HTML file that segments scans in a browser: model, WebAssembly and viewer inside. Research use only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["check_page", "write_page"]

if TYPE_CHECKING:
    from embedded_vit.page.assembling import check_page, write_page
else:
    __getattr__, __dir__ = lazily(__name__, {"assembling": ["check_page", "write_page"]})
