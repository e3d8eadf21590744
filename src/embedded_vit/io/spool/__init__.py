"""Scans and masks that lie on the disk while they are segmented."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = ["Spool", "SpoolView", "SpooledLabelMap", "SpooledVolume", "check_free_disk", "slice_axis_of"]

if TYPE_CHECKING:
    from embedded_vit.io.spool.spool import Spool, check_free_disk
    from embedded_vit.io.spool.spooled_volume import SpooledLabelMap, SpooledVolume, SpoolView, slice_axis_of
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "spool": ["Spool", "check_free_disk"],
            "spooled_volume": ["SpoolView", "SpooledLabelMap", "SpooledVolume", "slice_axis_of"],
        },
    )
