"""Scans and masks between files and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["ScanSource", "is_scan", "open_scan", "read_labels", "write_labels"]

if TYPE_CHECKING:
    from embedded_vit.io.base import ScanSource
    from embedded_vit.io.nifti import read_labels, write_labels
    from embedded_vit.io.scan_source import is_scan, open_scan
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "base": ["ScanSource"],
            "nifti": ["read_labels", "write_labels"],
            "scan_source": ["is_scan", "open_scan"],
        },
    )
