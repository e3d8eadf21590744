"""Connected components of a mask that comes slice by slice, found from runs of voxels; numpy only.

A run is an unbroken row of voxels with one label. A mask of organs has some ten thousand runs where it has millions of
voxels, so they fit into memory where the mask may not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Components", "Runs"]

MAXIMUM_RUNS = 500_000  # anatomy has some ten thousand; only noise has more

# (runs, 4) int64: row, first column, column behind the last, label
Runs = NDArray[np.int64]


class Components:
    """The connected components of every label, voxels that touch by a corner included.

    Slices are added upwards, one after the other; what they are needed for is asked afterwards.
    """

    def __init__(self) -> None:
        self._runs: list[Runs] = []
        self._total = 0

    def add(self, labels: NDArray[np.uint8]) -> None:
        """Take the next slice: (rows, columns) uint8, 0 is background."""
        runs = _runs_of(labels) if self._total <= MAXIMUM_RUNS else np.zeros((0, 4), np.int64)
        self._runs.append(runs)
        self._total += len(runs)

    @property
    def too_many(self) -> bool:
        """Whether the mask is too fragmented to be looked at: more than `MAXIMUM_RUNS` runs."""
        return self._total > MAXIMUM_RUNS

    def sizes(self) -> dict[int, NDArray[np.int64]]:
        """Label -> voxels of each of its components, the largest first."""
        _, labels, voxels = self._components()
        return {int(label): np.sort(voxels[labels == label])[::-1] for label in np.unique(labels)}

    def islands(self, smallest_share: Sequence[float]) -> list[Runs]:
        """The runs of components that are too small.

        Args:
            smallest_share: For each label from 1, the share of its largest component's voxels that a component must
                have to stay, in [0, 1]: 0 keeps all, 1 the largest alone.

        Returns:
            For each slice the runs to remove; none where the mask is too fragmented.
        """
        if self.too_many:
            return [np.zeros((0, 4), np.int64)] * len(self._runs)
        component_of, labels, voxels = self._components()
        largest = np.zeros(len(smallest_share) + 1, np.int64)
        np.maximum.at(largest, labels, voxels)
        least = np.array([0.0, *smallest_share]) * largest
        removed = (voxels < least[labels])[component_of]
        ends = np.cumsum([len(runs) for runs in self._runs])[:-1]
        return [runs[away] for runs, away in zip(self._runs, np.split(removed, ends), strict=True)]

    def _components(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of each run its component; of each component its label and its number of voxels."""
        runs = np.concatenate([*self._runs, np.zeros((0, 4), np.int64)])
        component_of = _connected(runs, [len(each) for each in self._runs])
        components = int(component_of.max(initial=-1)) + 1
        labels, voxels = np.zeros(components, np.int64), np.zeros(components, np.int64)
        labels[component_of] = runs[:, 3]
        np.add.at(voxels, component_of, runs[:, 2] - runs[:, 1])
        return component_of, labels, voxels


def _runs_of(labels: NDArray[np.uint8]) -> Runs:
    """The runs of a slice, row by row, each from left to right."""
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
        counts: How many of them each slice has.

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
    """Pairs of runs of one label that touch, the second in the line that lies `distance` on.

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
