"""Resizing as a linear map along one axis, numpy only.

A resize is separable, so an image takes two matrix products, one along its rows and one along its columns. The matrices
are bands, and only what lies in the band is multiplied, which is two to four times faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells", "Resampling", "antialias_matrix", "bilinear_matrix", "cubic_matrix"]

# Of a matrix; each is multiplied with the part of the image that it reaches. Figures in docs/log/postprocessing.md.
BLOCKS = 8


@dataclass(frozen=True, eq=False)
class Cells:
    """A linear interpolation along one axis: target pixels between the same two source pixels make a cell.

    Attributes:
        first, second: (cells,) those source pixels; the same one twice where an edge is held.
        targets: (pixels, cells) each cell's target pixels; a cell with fewer repeats its last.
        weights: (pixels, cells) float32, of the second source pixel in each of them; the first has the rest.
        of_target: (target,) the cell of each target pixel.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    targets: NDArray[np.intp]
    weights: NDArray[np.float32]
    of_target: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Resampling:
    """A resize along one axis.

    Attributes:
        matrix: (target, source) float32; row t holds the weights of target pixel t.
    """

    matrix: NDArray[np.float32]

    def along_rows(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., source, columns) -> (..., target, columns)."""
        resized = np.empty((*image.shape[:-2], self.matrix.shape[0], image.shape[-1]), np.float32)
        for targets, sources, weights in self._blocks:
            np.matmul(weights, image[..., sources, :], out=resized[..., targets, :])
        return resized

    def along_columns(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., rows, source) -> (..., rows, target)."""
        resized = np.empty((*image.shape[:-1], self.matrix.shape[0]), np.float32)
        for targets, sources, weights in self._blocks:
            np.matmul(image[..., sources], weights.T, out=resized[..., targets])
        return resized

    @cached_property
    def cells(self) -> Cells:
        """The cells of a linear interpolation, each of at most as many target pixels as most of them hold."""
        target, source = self.matrix.shape
        first = (self.matrix != 0).argmax(axis=1)  # (target,)
        second = np.minimum(first + 1, source - 1)
        weights = np.where(second > first, self.matrix[np.arange(target), second], np.float32(0))
        pixels = -(-target // source)
        begins = np.flatnonzero(np.diff(first, prepend=-1))  # of the runs of target pixels with one first pixel
        ends = np.append(begins[1:], target)
        starts = np.concatenate([np.arange(*run, pixels) for run in zip(begins, ends, strict=True)])
        lengths = np.diff(starts, append=target)
        targets = np.minimum(starts + np.arange(pixels)[:, None], starts + lengths - 1)
        of_target = np.repeat(np.arange(len(starts)), lengths)
        return Cells(first[starts], second[starts], targets, weights[targets], of_target)

    @cached_property
    def _blocks(self) -> list[tuple[slice, slice, NDArray[np.float32]]]:
        """Target pixels, the source pixels that they need, and the weights between them."""
        target = self.matrix.shape[0]
        step = max(1, -(-target // BLOCKS))
        blocks = []
        for first in range(0, target, step):
            targets = slice(first, first + step)
            reached = np.flatnonzero(self.matrix[targets].any(axis=0))
            sources = slice(int(reached[0]), int(reached[-1]) + 1) if reached.size else slice(0, 0)
            blocks.append((targets, sources, np.ascontiguousarray(self.matrix[targets, sources])))
        return blocks


@lru_cache(maxsize=32)
def antialias_matrix(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): a triangle filter as wide as an output pixel when reducing, bilinear when enlarging.

    Pixel centres are aligned: output o lies at (o + 1/2) * source / target - 1/2. Rows sum to one.
    """
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(source)[None, :] - centres[:, None]) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def bilinear_matrix(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): linear interpolation, pixel centres aligned, edges held (align_corners=False)."""
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    left = np.minimum(position.astype(int), max(source - 2, 0))
    matrix = np.zeros((target, source), np.float32)
    matrix[np.arange(target), left] = 1 - (position - left)
    matrix[np.arange(target), np.minimum(left + 1, source - 1)] += position - left
    return matrix


@lru_cache(maxsize=32)
def cubic_matrix(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): the interpolating cubic spline of scipy.ndimage.zoom(order=3), end pixels aligned.

    Source: Unser, "Splines: a perfect fit", 1999; mirror boundaries as in scipy.
    """
    position = np.arange(target) * (source - 1) / max(target - 1, 1)
    return (_spline_basis(position, source) @ np.linalg.inv(_spline_basis(np.arange(source), source))).astype(
        np.float32
    )


def _spline_basis(position: NDArray[Any], length: int) -> NDArray[np.float64]:
    """(positions, length): the value of every cubic B-spline at each position, mirrored at both ends."""
    basis = np.zeros((len(position), length))
    first = np.floor(position).astype(int) - 1
    for offset in range(4):
        knot = first + offset
        distance = np.abs(position - knot)
        weight = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, np.maximum(0, 2 - distance) ** 3 / 6)
        mirrored = np.abs(knot)
        mirrored = np.where(mirrored >= length, 2 * (length - 1) - mirrored, mirrored)
        np.add.at(basis, (np.arange(len(position)), np.clip(mirrored, 0, length - 1)), weight)
    return basis
