"""TransUNet's files: slices in `.npz` and volumes in `.npy.h5`, both with the arrays `image` and `label`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_vit.lazy import lazily

__all__ = [
    "TRANSUNET_AFFINE",
    "announced_h5_bytes",
    "is_h5_volume",
    "read_h5_labels",
    "read_h5_volume",
    "read_slice",
    "spool_h5_volume",
    "stack_images",
    "stack_labels",
    "stored_numbers",
]

if TYPE_CHECKING:
    from embedded_vit.io.transunet.arrays import TRANSUNET_AFFINE, stored_numbers
    from embedded_vit.io.transunet.slices import read_slice, stack_images, stack_labels
    from embedded_vit.io.transunet.volume import (
        announced_h5_bytes,
        is_h5_volume,
        read_h5_labels,
        read_h5_volume,
        spool_h5_volume,
    )
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "arrays": ["TRANSUNET_AFFINE", "stored_numbers"],
            "slices": ["read_slice", "stack_images", "stack_labels"],
            "volume": ["announced_h5_bytes", "is_h5_volume", "read_h5_labels", "read_h5_volume", "spool_h5_volume"],
        },
    )
