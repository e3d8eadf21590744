"""Scans and masks that lie on the disk while they are segmented."""

from embedded_vit.io.spool.spool import Spool, check_free_disk
from embedded_vit.io.spool.spooled_volume import SpooledLabelMap, SpooledVolume, SpoolView, slice_axis_of

__all__ = ["Spool", "SpoolView", "SpooledLabelMap", "SpooledVolume", "check_free_disk", "slice_axis_of"]
