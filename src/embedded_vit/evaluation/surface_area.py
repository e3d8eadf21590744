"""NSD and HD95 by area: surfaces as the surface-distance package of DeepMind defines them.

A point lies at every corner where voxels meet. Where the eight voxels around it (four in a plane) are not all inside or
all outside, the surface passes it, with the area that marching cubes gives to this pattern. The distance of a surface
element is that of its point to the nearest point of the other surface.

Source: Nikolov et al., 1809.04430, and `surface_distance.metrics` 0.1, whose table of 256 patterns is the one below:
    its patterns are equal up to symmetries of the cube and exchange of inside and outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

__all__ = ["Distances", "hd95_by_area", "nsd_by_area"]

Distances = Callable[[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]], NDArray[np.float64]]
Normal = tuple[int, ...]

EIGHTHS = 8  # the normals below are in eighths of a face
# Pattern -> the normals of its surface elements, without signs. Bit 4 a + 2 b + c is the voxel at (a, b, c).
CUBES: dict[int, Sequence[Normal]] = {
    0b10000000: [(1, 1, 1)],
    0b11000000: [(2, 2, 0)] * 2,
    0b01100000: [(1, 1, 1)] * 2,
    0b11100000: [(1, 1, 1), (2, 2, 2), (4, 0, 0)],
    0b11110000: [(4, 0, 0)] * 2,
    0b01101000: [(1, 1, 1)] * 3,
    0b11101000: [(1, 1, 1)] * 2 + [(2, 2, 2)] * 2,
    0b00011000: [(1, 1, 1)] * 2,
    0b10011000: [(0, 2, 2)] * 2 + [(1, 1, 1)],
    0b11011000: [(0, 2, 2), (2, 0, 2), (1, 1, 1), (3, 3, 3)],
    0b01111000: [(1, 1, 1)] * 2 + [(2, 2, 2), (4, 0, 0)],
    0b00111100: [(2, 2, 0)] * 4,
    0b10010110: [(1, 1, 1)] * 4,
}
SQUARES: dict[int, Sequence[Normal]] = {0b1000: [(4, 4)], 0b1100: [(8, 0)], 0b0110: [(4, 4)] * 2}
PATTERNS = {2: SQUARES, 3: CUBES}


def nsd_by_area(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing: Sequence[float],
    tolerance: float,
    distances: Distances,
) -> float:
    """Return NSD: the share of the area of both surfaces that lies within the tolerance of the other surface.

    Args:
        prediction, truth: bool, one shape of two or three axes, neither of them empty.
        spacing: Distance between neighbouring voxels along each axis.
        tolerance: In the unit of the spacing.
        distances: Measures from the points of the first array to those of the second, and back, in their order.
    """
    areas, lengths = _surfaces(prediction, truth, spacing, distances)
    area, near = np.concatenate(areas), np.concatenate(lengths) <= tolerance
    return float(area[near].sum() / area.sum())


def hd95_by_area(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float], distances: Distances
) -> float:
    """Return HD95 as `compute_robust_hausdorff` of that package: 95 % of either surface's area lie within it.

    Arguments as `nsd_by_area`.
    """
    found = []
    for area, length in zip(*_surfaces(prediction, truth, spacing, distances), strict=True):
        order = np.argsort(length)
        share = np.cumsum(area[order]) / area.sum()
        found.append(length[order][min(int(np.searchsorted(share, 0.95)), len(order) - 1)])
    return float(max(found))


def _surfaces(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float], distances: Distances
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Return for each of both surfaces the area of its elements, and their distances to the other surface."""
    codes = [_codes(mask) for mask in (prediction, truth)]
    full = 2 ** (2**prediction.ndim) - 1
    surfaces = [(code != 0) & (code != full) for code in codes]
    table = _areas(tuple(map(float, spacing)))
    areas = [table[code[surface]] for code, surface in zip(codes, surfaces, strict=True)]
    lengths = distances(surfaces[0], surfaces[1], np.asarray(spacing, np.float64))
    return areas, np.split(lengths, [len(areas[0])])


def _codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the pattern of the voxels around each corner; beyond the array is outside. Each axis is one longer."""
    padded = np.pad(mask, 1).astype(np.uint8)
    codes = np.zeros([length + 1 for length in mask.shape], np.uint8)
    for number, corner in enumerate(product((0, 1), repeat=mask.ndim)):
        part = tuple(slice(first, first + length) for first, length in zip(corner, codes.shape, strict=True))
        codes |= padded[part] << number
    return codes


@lru_cache(maxsize=64)
def _areas(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the area of the surface at each pattern, in a plane its length: (256,) or (16,)."""
    axes = len(spacing)
    faces = np.prod(spacing) / np.array(spacing)  # the area of a voxel's face across each axis
    corners = list(product((0, 1), repeat=axes))
    table = np.zeros(2 ** len(corners))
    for pattern, normals in PATTERNS[axes].items():
        inside = [corner for number, corner in enumerate(corners) if pattern >> number & 1]
        for order, flips in product(permutations(range(axes)), corners):
            moved = [tuple(corner[old] ^ flip for old, flip in zip(order, flips, strict=True)) for corner in inside]
            code = sum(1 << corners.index(corner) for corner in moved)
            turned = np.array(normals)[:, order] / EIGHTHS
            table[[code, len(table) - 1 - code]] = np.linalg.norm(turned * faces, axis=1).sum()
    return table
