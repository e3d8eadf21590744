"""Postprocessing of a mask: small components that no patient of the training data had are removed; numpy only.

A mask comes slice by slice, and its connected components are found from runs of voxels. A run is an unbroken row of
voxels with one label. A mask of organs has some ten thousand runs where it has millions of voxels, so the runs fit into
memory where the mask may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.labels import LabelSet
from embedded_vit.volume import Mask

__all__ = ["Components", "Postprocessing", "Runs", "find_postprocessing", "remove_small_components"]

MAXIMUM_RUNS = 500_000  # anatomy has some ten thousand; only noise has more

LEAST_CASES = 5  # with a structure: what fewer patients have in common may be chance
STRAY = 0.01  # part of a structure's voxels that may lie astray without counting as a component of it
LEAST_SHARE = 0.05  # a structure that needs smaller components lies in many pieces, as tumours do
MARGIN = 0.2  # of that share: another patient's may be smaller, and a network may tear a structure into pieces

Share = Annotated[float, Field(ge=0, le=1)]

# (runs, 4) int64: row, first column, column behind the last, label
Runs = NDArray[np.int64]


class Postprocessing(Config):
    """What becomes of a network's masks."""

    smallest_component: Mapping[str, Share] = Field(
        default_factory=dict,
        description="structure -> share of its largest component's voxels that any other component must have to stay; "
        "a structure that is not named keeps all its components",
    )

    def smallest_shares(self, labels: LabelSet) -> list[float]:
        """Return the share of each label from 1; 0 where all components stay."""
        return [self.smallest_component.get(name, 0.0) for name in labels.names]


def find_postprocessing(cases: Iterable[Iterable[NDArray[np.uint8]]], labels: LabelSet) -> Postprocessing:
    """Find for each structure the smallest component that any training case needs.

    Args:
        cases: The masks of the training cases. Each gives its slices upwards, (rows, columns) uint8.
        labels: The structures.

    Returns:
        A share for each structure that lies in one piece or in a few large ones. Structures in many pieces, such as
        tumours, are not named. Nothing is named where a mask is too fragmented to be looked at.
    """
    needed: dict[int, list[float]] = {label.id: [] for label in labels.labels}
    for slices in cases:
        components = Components()
        for plane in slices:
            components.add(plane)
        if components.too_many:
            return Postprocessing()
        for label, sizes in components.sizes().items():
            needed[label].append(_smallest_needed(sizes))
    smallest = {label.name: min(needed[label.id]) for label in labels.labels if len(needed[label.id]) >= LEAST_CASES}
    return Postprocessing(
        smallest_component={name: round(MARGIN * share, 3) for name, share in smallest.items() if share >= LEAST_SHARE}
    )


def _smallest_needed(sizes: NDArray[np.int64]) -> float:
    """Return the smallest component that belongs to a structure, as a share of its largest: 1 if it is one piece.

    Args:
        sizes: Voxels of each component, the largest first.
    """
    last = int(np.searchsorted(np.cumsum(sizes), (1 - STRAY) * sizes.sum()))  # all up to it leave but stray voxels out
    return float(sizes[last] / sizes[0])


def remove_small_components(mask: Mask, components: Components, smallest_shares: Sequence[float]) -> list[int]:
    """Set components that are too small to background; the mask stays as it is where it is too fragmented.

    Args:
        mask: Its slices are those that `components` was given, in the same order.
        components: Of the whole mask.
        smallest_shares: As `Components.small_components` takes them.

    Returns:
        The slices that were changed.
    """
    changed = []
    for index, runs in enumerate(components.small_components(smallest_shares)):
        if len(runs):
            changed.append(index)
            labels = mask.get(index).copy()
            for row, begin, end, _ in runs:
                labels[row, begin:end] = 0
            mask.put(index, labels)
    return changed


class Components:
    """The connected components of every label; voxels that touch by a corner are connected.

    All slices are added first, upwards; then sizes and small components can be asked for.
    """

    def __init__(self) -> None:
        self._runs: list[Runs] = []
        self._total = 0

    def add(self, labels: NDArray[np.uint8]) -> None:
        """Add the next slice: (rows, columns) uint8, 0 is background."""
        runs = _runs_of(labels) if self._total <= MAXIMUM_RUNS else np.zeros((0, 4), np.int64)
        self._runs.append(runs)
        self._total += len(runs)

    @property
    def too_many(self) -> bool:
        """Whether the mask is too fragmented to be searched: it has more than `MAXIMUM_RUNS` runs."""
        return self._total > MAXIMUM_RUNS

    def sizes(self) -> dict[int, NDArray[np.int64]]:
        """Return for each label the voxels of its components, the largest first."""
        _, labels, voxels = self._components()
        return {int(label): np.sort(voxels[labels == label])[::-1] for label in np.unique(labels)}

    def small_components(self, smallest_shares: Sequence[float]) -> list[Runs]:
        """Return the runs of components that are too small.

        Args:
            smallest_shares: For each label from 1, the share of its largest component's voxels that a component must
                have to stay, in [0, 1]: 0 keeps all, 1 the largest alone.

        Returns:
            The runs to remove from each slice; none where the mask is too fragmented.
        """
        if self.too_many:
            return [np.zeros((0, 4), np.int64)] * len(self._runs)
        component_of, labels, voxels = self._components()
        largest = np.zeros(len(smallest_shares) + 1, np.int64)
        np.maximum.at(largest, labels, voxels)
        least = np.array([0.0, *smallest_shares]) * largest
        removed = (voxels < least[labels])[component_of]
        ends = np.cumsum([len(runs) for runs in self._runs])[:-1]
        return [runs[away] for runs, away in zip(self._runs, np.split(removed, ends), strict=True)]

    def _components(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the component of each run, and the label and the voxels of each component."""
        runs = np.concatenate([*self._runs, np.zeros((0, 4), np.int64)])
        component_of = _connected(runs, [len(each) for each in self._runs])
        components = int(component_of.max(initial=-1)) + 1
        labels, voxels = np.zeros(components, np.int64), np.zeros(components, np.int64)
        labels[component_of] = runs[:, 3]
        np.add.at(voxels, component_of, runs[:, 2] - runs[:, 1])
        return component_of, labels, voxels


def _runs_of(labels: NDArray[np.uint8]) -> Runs:
    """Return the runs of a slice, row by row, each from left to right."""
    height, width = labels.shape
    padded = np.zeros((height, width + 2), np.uint8)  # every run begins and ends inside its row
    padded[:, 1:-1] = labels
    flat = padded.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    label = flat[changes + 1]  # to the right of each change
    begins = np.flatnonzero(label)  # a change to a label begins a run, and the next change ends it
    row, begin = np.divmod(changes[begins], width + 2)
    end = changes[begins + 1] % (width + 2)
    return np.stack([row, begin, end, label[begins].astype(np.int64)], axis=1)


def _connected(runs: Runs, counts: Sequence[int]) -> NDArray[np.int64]:
    """Number the components.

    Args:
        runs: Of all slices, in the order of slice, row and column.
        counts: The number of runs of each slice.

    Returns:
        (runs,) the component of each run, from 0.
    """
    row, begin, end, _ = runs.T
    slices = np.repeat(np.arange(len(counts)), counts)
    rows_apart, columns_apart = int(row.max(initial=0)) + 2, int(end.max(initial=0)) + 2
    line = slices * rows_apart + row  # so far apart that the last row of a slice does not touch the next slice's first
    begins, ends = line * columns_apart + begin, line * columns_apart + end
    parent = np.arange(len(runs))
    for lines_on in (1, rows_apart - 1, rows_apart, rows_apart + 1):  # the next row; three rows of the next slice
        first, second = _touching(runs, begins, ends, lines_on * columns_apart)
        while len(first):
            roots = parent[first], parent[second]
            np.minimum.at(parent, np.maximum(*roots), np.minimum(*roots))
            while (parent != parent[parent]).any():
                parent = parent[parent]
            apart = parent[first] != parent[second]
            first, second = first[apart], second[apart]
    return np.unique(parent, return_inverse=True)[1]


def _touching(runs: Runs, begins: NDArray[np.int64], ends: NDArray[np.int64], distance: int) -> NDArray[np.int64]:
    """Find pairs of runs of one label that touch, the second in the line that lies `distance` on.

    Args:
        runs: As `_connected` takes them.
        begins, ends: (runs,) where each begins and ends, counted over all lines; ascending.
        distance: Between both lines, counted alike.

    Returns:
        (2, pairs) indices.
    """
    from_run = np.searchsorted(ends, begins + distance, side="left")  # the first that does not end before
    to_run = np.searchsorted(begins, ends + distance, side="right")  # the first that begins behind
    count = np.maximum(to_run - from_run, 0)
    first = np.repeat(np.arange(len(runs)), count)
    second = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(from_run, count)
    pairs: NDArray[np.int64] = np.stack([first, second])
    return pairs[:, runs[first, 3] == runs[second, 3]]
