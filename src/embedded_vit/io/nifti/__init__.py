"""NIfTI files, `.nii` and `.nii.gz`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = [
    "SUFFIX",
    "SUFFIXES",
    "NiftiGeometry",
    "NiftiSource",
    "is_nifti",
    "read_geometry",
    "read_labels",
    "read_volume",
    "write_labels",
    "write_probabilities",
    "write_volume",
]

if TYPE_CHECKING:
    from embedded_vit.io.nifti.geometry import NiftiGeometry
    from embedded_vit.io.nifti.read import read_geometry, read_labels
    from embedded_vit.io.nifti.source import NiftiSource, read_volume
    from embedded_vit.io.nifti.stream import SUFFIX, SUFFIXES, is_nifti
    from embedded_vit.io.nifti.write import write_labels, write_probabilities, write_volume
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "geometry": ["NiftiGeometry"],
            "read": ["read_geometry", "read_labels"],
            "source": ["NiftiSource", "read_volume"],
            "stream": ["SUFFIX", "SUFFIXES", "is_nifti"],
            "write": ["write_labels", "write_probabilities", "write_volume"],
        },
    )
