"""Trees of ever thinner tubes: vessels and airways."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedded_vit.datasets.phantom.shapes import Position, Tube

__all__ = ["grown_tree"]

SHARE_OF_LENGTH = (0.72, 0.95)  # of a branch and the one that it comes from
SHARE_OF_RADIUS = 0.79  # two branches that carry what one did: Murray's law
SPREAD = 0.55  # how far a branch turns away, as a share of its length


def grown_tree(
    rng: np.random.Generator, begin: Position, direction: Position, *, radius_mm: float, length_mm: float, forks: int
) -> tuple[Tube, ...]:
    """Grow a tree whose branches fork in two.

    Args:
        rng: Source of all that differs between trees.
        begin: Where the trunk begins.
        direction: Where the trunk runs to; its length does not matter.
        radius_mm, length_mm: Of the trunk.
        forks: How often it forks, one after the other.

    Returns:
        2 ** (forks + 1) - 1 tubes.
    """
    tubes = []
    growing = [(np.array(begin, float), _unit(np.array(direction, float)), radius_mm, length_mm)]
    for generation in range(forks + 1):
        following = []
        for place, heading, radius, length in growing:
            end = place + heading * length
            thinner = radius * SHARE_OF_RADIUS
            tubes.append(Tube(_position(place), _position(end), radius, thinner))
            if generation == forks:
                continue
            aside = _unit(np.cross(heading, rng.standard_normal(3))) * SPREAD
            for side in (-1, 1):
                turned = _unit(heading + side * aside * rng.uniform(0.7, 1.3))
                following.append((end, turned, thinner, length * rng.uniform(*SHARE_OF_LENGTH)))
        growing = following
    return tuple(tubes)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return unit


def _position(vector: NDArray[np.float64]) -> Position:
    return float(vector[0]), float(vector[1]), float(vector[2])
