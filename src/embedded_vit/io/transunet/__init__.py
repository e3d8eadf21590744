"""TransUNet's files: slices in `.npz` and volumes in `.npy.h5`, both with the arrays `image` and `label`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = [
    "SLICE_SUFFIX",
    "VOLUME_SUFFIX",
    "VOLUME_SUFFIXES",
    "H5Source",
    "read_h5_labels",
    "read_slice",
    "stack_images",
    "stack_labels",
    "stored_numbers",
]

if TYPE_CHECKING:
    from embedded_vit.io.transunet.arrays import stored_numbers
    from embedded_vit.io.transunet.slices import SLICE_SUFFIX, read_slice, stack_images, stack_labels
    from embedded_vit.io.transunet.source import H5Source
    from embedded_vit.io.transunet.volume import VOLUME_SUFFIX, VOLUME_SUFFIXES, read_h5_labels
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "arrays": ["stored_numbers"],
            "slices": ["SLICE_SUFFIX", "read_slice", "stack_images", "stack_labels"],
            "source": ["H5Source"],
            "volume": ["VOLUME_SUFFIX", "VOLUME_SUFFIXES", "read_h5_labels"],
        },
    )
