"""Which structures lie in one piece: found in training masks, so that islands can be removed from predicted ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedded_vit.components import Components
from embedded_vit.labels import LabelSet
from embedded_vit.postprocessing import Postprocessing
from embedded_vit.training.slices import SliceSet

__all__ = ["find_postprocessing"]

LEAST_CASES = 5  # with a structure: what fewer patients have in common may be chance
STRAY = 0.01  # part of a structure's voxels that may lie astray without counting as a component of it
LEAST_SHARE = 0.05  # a structure that needs smaller components lies in many pieces, as tumours do
MARGIN = 0.2  # of that share: another patient's may be smaller, and a network may tear a structure into pieces


def find_postprocessing(slices: SliceSet, names: Sequence[str], labels: LabelSet) -> Postprocessing:
    """Find for each structure the smallest component that any of the named cases needs.

    Args:
        slices: On the network's grid.
        names: The training cases.
        labels: The structures.

    Returns:
        The structures that lie in one piece, or in a few large ones; those in many, such as tumours, are not named.
    """
    needed: dict[int, list[float]] = {label.id: [] for label in labels.labels}
    for name in names:
        components = Components()
        for index in slices.indices_of([name]):
            components.add(slices.labels[index])
        if components.too_many:
            return Postprocessing()
        for label, sizes in components.sizes().items():
            needed[label].append(_smallest_needed(sizes))
    smallest = {label.name: min(needed[label.id]) for label in labels.labels if len(needed[label.id]) >= LEAST_CASES}
    return Postprocessing(
        smallest_component={name: round(MARGIN * share, 3) for name, share in smallest.items() if share >= LEAST_SHARE}
    )


def _smallest_needed(sizes: NDArray[np.int64]) -> float:
    """The smallest component that belongs to a structure, as a share of its largest: 1 where it lies in one piece.

    Args:
        sizes: Voxels of each component, the largest first.
    """
    last = int(np.searchsorted(np.cumsum(sizes), (1 - STRAY) * sizes.sum()))  # all up to it leave but stray voxels out
    return float(sizes[last] / sizes[0])
