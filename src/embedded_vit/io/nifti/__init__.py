"""NIfTI files, `.nii` and `.nii.gz`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = [
    "NiftiGeometry",
    "announced_bytes",
    "is_nifti",
    "read_geometry",
    "read_labels",
    "read_volume",
    "spool_volume",
    "write_labels",
    "write_volume",
]

if TYPE_CHECKING:
    from embedded_vit.io.nifti.geometry import NiftiGeometry
    from embedded_vit.io.nifti.read import announced_bytes, read_geometry, read_labels, read_volume, spool_volume
    from embedded_vit.io.nifti.stream import is_nifti
    from embedded_vit.io.nifti.write import write_labels, write_volume
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "geometry": ["NiftiGeometry"],
            "read": ["announced_bytes", "read_geometry", "read_labels", "read_volume", "spool_volume"],
            "stream": ["is_nifti"],
            "write": ["write_labels", "write_volume"],
        },
    )
