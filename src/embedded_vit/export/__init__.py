"""Writes a trained network to one model file, checked against PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["ExportReport", "export"]

if TYPE_CHECKING:
    from embedded_vit.export.exporting import ExportReport, export
else:
    __getattr__, __dir__ = lazily(__name__, {"exporting": ["ExportReport", "export"]})
