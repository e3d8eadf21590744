"""From logits on the network's grid to labels on the slice's own grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedded_vit.preprocessing import Grid

__all__ = ["label_slice"]


def label_slice(logits: NDArray[np.float32], grid: Grid) -> NDArray[np.uint8]:
    """Return the label of every pixel: `grid.enlarge(logits).argmax(0)`, several times faster.

    An enlarged logit is a weighted mean of the logits at the four corners of its cell. A class that is largest at all
    four corners is largest in the whole cell. This holds for most cells, so only the others are interpolated. A class
    that is below background on the whole of the network's grid is below it everywhere.

    Args:
        logits: (K, T, T) float32.
        grid: The slice's grid.

    Returns:
        (rows, columns) uint8, 0..K-1; the lower class wins a tie. Background outside the field of view.
    """
    return grid.on_slice(_label_part(logits, grid))


def _label_part(logits: NDArray[np.float32], grid: Grid) -> NDArray[np.uint8]:
    """Return the labels of the part of the slice that the network sees."""
    present = [0, *np.flatnonzero((logits > logits[0]).any(axis=(1, 2)))]
    planes = [logits[number] for number in present]
    winners = _argmax(present, planes)
    down, across = grid.enlarge_rows.cells, grid.enlarge_columns.cells
    corners = [
        winners.take(row, axis=0).take(column, axis=1)
        for row in (down.first, down.second)
        for column in (across.first, across.second)
    ]  # each (cells down, cells across)
    labels = corners[0].take(across.of_target, axis=1).take(down.of_target, axis=0)
    mixed = (corners[0] != corners[1]) | (corners[0] != corners[2]) | (corners[0] != corners[3])
    row, column = np.nonzero(mixed)  # (M,)
    top, bottom = down.first[row] * grid.output_size, down.second[row] * grid.output_size
    left, right = across.first[column], across.second[column]
    sources = np.stack([top + left, top + right, bottom + left, bottom + right])  # (4, M): places in a flat plane
    below = down.weights.take(row, axis=1)[:, None]  # (pixels down, 1, M)
    beside = across.weights.take(column, axis=1)[None]  # (1, pixels across, M)

    def interpolated(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate (T, T) logits in the mixed cells: (pixels down, pixels across, M)."""
        top_left, top_right, bottom_left, bottom_right = plane.take(sources)
        on_left = top_left + (bottom_left - top_left) * below
        on_right = top_right + (bottom_right - top_right) * below
        pixels = (on_right - on_left) * beside
        pixels += on_left
        return pixels

    places = down.targets.take(row, axis=1)[:, None] * labels.shape[1] + across.targets.take(column, axis=1)[None]
    labels.ravel()[places] = _argmax(present, map(interpolated, planes))
    return labels


def _argmax(numbers: Sequence[int], planes: Iterable[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Return the number of the largest plane at each place; the first one wins a tie."""
    first, *others = numbers
    rest = iter(planes)
    best = next(rest).copy()
    labels = np.full(best.shape, first, np.uint8)
    for number, plane in zip(others, rest, strict=True):
        np.copyto(labels, np.uint8(number), where=plane > best)
        np.maximum(best, plane, out=best)
    return labels
