"""A small picture of a mask over its scan, to see at a glance what was found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedded_vit.contract import Contract
from embedded_vit.overlay import overlay
from embedded_vit.preprocessing import Intensities
from embedded_vit.volume import Mask, Scan

__all__ = ["preview"]

COLUMNS, ROWS = 3, 2  # of slices
TILE = 160  # pixels along each side of a slice, at most


def preview(
    scan: Scan, mask: Mask, by_slice: NDArray[np.int64], contract: Contract, intensities: Intensities
) -> NDArray[np.uint8]:
    """Draw six slices with their structures, as radiologists look at them; slices with more structures come closer.

    Args:
        scan, mask: In the orientation in which the network sees slices.
        by_slice: How many voxels of each slice have a label, (slices,).
        contract: Of the network.
        intensities: Of the scan: what is black and what white.

    Returns:
        (height, width, 3) uint8: two rows of three slices, from the first slice to the last, or fewer.
    """
    indices = _chosen(by_slice)
    _, row_mm, column_mm = scan.spacing_mm
    _, rows, columns = scan.shape
    scale = TILE / max(rows * row_mm, columns * column_mm)
    across, down = (_places(length, length * step * scale) for length, step in ((rows, row_mm), (columns, column_mm)))
    wide = min(COLUMNS, len(indices))
    page = np.zeros((-(-len(indices) // wide) * len(down), wide * len(across), 3), np.uint8)
    for number, index in enumerate(indices):
        shown = np.ix_(across, down)
        stored = scan.stored(index)[0][shown].astype(np.float32)
        seen = intensities.normalise((stored * np.float32(scan.slope) + np.float32(scan.intercept))[None])[0]
        labels = mask.get(index)[shown]
        top, left = (
            place * length for place, length in zip(divmod(number, wide), (len(down), len(across)), strict=True)
        )
        # Rows run to the left of the page's reader, columns down: transposed, they run right and down.
        tile = overlay(np.rint(seen.T * 255).astype(np.uint8), labels.T, contract.labels)
        page[top : top + len(down), left : left + len(across)] = tile
    return page


def _chosen(by_slice: NDArray[np.int64]) -> list[int]:
    """Return six slices that share what is labelled evenly, or the scan where nothing is."""
    weights = by_slice if by_slice.any() else np.ones_like(by_slice)
    reached = np.cumsum(weights) / weights.sum()
    wanted = (np.arange(COLUMNS * ROWS) + 0.5) / (COLUMNS * ROWS)
    return sorted({int(index) for index in np.searchsorted(reached, wanted)})


def _places(length: int, pixels: float) -> NDArray[np.intp]:
    """Return the nearest of `length` places for each of so many pixels."""
    count = min(TILE, max(1, round(pixels)))
    return ((np.arange(count) + 0.5) * length / count).astype(np.intp)
