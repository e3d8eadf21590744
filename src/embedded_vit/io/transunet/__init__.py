"""TransUNet's files: slices in `.npz` and volumes in `.npy.h5`, both with the arrays `image` and `label`."""

from embedded_vit.io.transunet.arrays import TRANSUNET_AFFINE, stored_numbers
from embedded_vit.io.transunet.slices import read_slice, stack_images, stack_labels
from embedded_vit.io.transunet.volume import (
    announced_h5_bytes,
    is_h5_volume,
    read_h5_labels,
    read_h5_volume,
    spool_h5_volume,
)

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
