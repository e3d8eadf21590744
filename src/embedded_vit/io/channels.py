"""Several files, each with one channel of a scan, as one scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedded_vit.grids import laid_on
from embedded_vit.volume import Volume

__all__ = ["join_channels"]


def join_channels(volumes: Sequence[Volume]) -> Volume:
    """Put scans of one channel each on a common first axis, on the grid of the first.

    Args:
        volumes: At least one; at one place, their axes in any order and direction.

    Returns:
        (channels, *shape of the first), in stored numbers where all are stored alike, else intensities in float32.

    Raises:
        FileFormatError: One lies on another grid than the first.
    """
    first, *others = volumes
    alike = [first, *(laid_on(other, first) for other in others)]
    if len({(volume.array.dtype, volume.slope, volume.intercept) for volume in alike}) == 1:
        array = np.concatenate([volume.array for volume in alike])
        return Volume(array, first.affine, first.slope, first.intercept, source=first.source)
    scaled = [volume.array.astype(np.float32) * volume.slope + volume.intercept for volume in alike]
    return Volume(np.concatenate(scaled).astype(np.float32, copy=False), first.affine, source=first.source)
