"""Whether two arrays lie on one grid: the one tolerance for masks, for channels, and for whatever is laid on a scan.

Programs round an affine when they write it, and they write axes in another order or direction. Both put the voxels at
the same place. What lies further off than `GRID_TOLERANCE` is another grid.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError
from embedded_vit.volume import LabelMap, Mask, Scan, Volume

__all__ = ["GRID_TOLERANCE", "grid_problem", "laid_on", "voxels_apart"]

GRID_TOLERANCE = 0.1  # of a voxel, at the corner where two grids differ most

InMemory = TypeVar("InMemory", Volume, LabelMap)


def voxels_apart(affine: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, int, int]) -> float:
    """Return how far apart two affines put one array, in voxels: the most along an axis at any corner.

    Args:
        affine, other: (4, 4), array index -> RAS+ mm; lengths are measured in voxels of `affine`.
        shape: Length of the three axes.
    """
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * [*(length - 1 for length in shape), 1]
    shift_mm = corners @ (other - affine)[:3].T  # (8, 3)
    return float(np.abs(np.linalg.solve(affine[:3, :3], shift_mm.T)).max())


def grid_problem(scan: Scan | Mask, other: Scan | LabelMap) -> str | None:
    """Say how the grid of a mask or of a second channel differs from its scan's; None where the two agree.

    Args:
        scan: The scan, or its first channel.
        other: In the axis order of the scan; see `laid_on`.
    """
    if scan.shape != other.shape:
        what = "mask" if isinstance(other, LabelMap) else "channel"
        return f"image {_times(scan.shape)} and {what} {_times(other.shape)} differ in shape"
    apart = voxels_apart(scan.affine, other.affine, scan.shape)
    if apart > GRID_TOLERANCE:
        what = "mask" if isinstance(other, LabelMap) else "channels"
        return f"the affines of image and {what} differ: {apart:.3g} voxels apart at a corner"
    return None


def laid_on(other: InMemory, scan: Scan | LabelMap) -> InMemory:
    """Return a mask or a channel on its scan's grid: axes in the scan's order and direction, with its affine.

    Args:
        other: At the same place as the scan, its axes in any order and direction.
        scan: The scan.

    Returns:
        A view of `other`, with the affine of `scan`.

    Raises:
        FileFormatError: It lies elsewhere, by more than a tenth of a voxel, or has another size.
    """
    if not (other.spacing_known and scan.spacing_known) and other.shape == scan.shape:
        return replace(other, affine=scan.affine, spacing_known=scan.spacing_known)  # as of a picture and its mask
    # In indices of the scan the axes of `other` run along 0, 1 and 2, whatever the rotation in the world is.
    in_indices = np.linalg.inv(scan.affine) @ other.affine
    turned = replace(other, affine=in_indices).reoriented("RAS")
    placed = replace(turned, affine=scan.affine @ turned.affine)
    if problem := grid_problem(scan, placed):
        if scan.shape == other.shape:
            problem = grid_problem(scan, other) or problem
        raise FileFormatError(
            f"{other.source}: lies on another grid than {scan.source}: {problem}; resample it to the scan"
        )
    return replace(placed, affine=scan.affine)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
