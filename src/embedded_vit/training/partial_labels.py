"""Labels that say only which classes a pixel may be.

An ignored pixel may be anything. Where nobody marked a structure in a case, background may be that structure. Prepared
slices hold a code for each such set of classes: 255 for the first, 254 for the second, and so on. The first set is
always that of all classes. As a code belongs to a pixel, it goes through every distortion and mix of slices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.errors import DataSetError
from embedded_vit.labels import IGNORED

__all__ = ["PartialSets", "background_code", "partial_sets", "possible_classes", "unmarked_structures"]

PartialSets = tuple[tuple[int, ...], ...]  # the classes that each code stands for; empty where every label is certain


def partial_sets(data_set: DataSet) -> PartialSets:
    """Return the sets of classes that the pixels of a data set may be.

    Raises:
        DataSetError: There are more sets than codes.
    """
    classes = data_set.labels.classes
    sets = sorted({(0, *case.unlabelled) for case in data_set.cases if case.unlabelled})
    if not sets and not data_set.ignores:
        return ()
    if len(sets) + 1 > IGNORED + 1 - classes:
        raise DataSetError(
            f"{data_set.folder}: {len(sets)} different sets of structures were not marked; with {classes - 1} "
            f"structures at most {IGNORED - classes} can be told apart: train on fewer structures (--structures)"
        )
    return (tuple(range(classes)), *sets)


def background_code(case: Case, sets: PartialSets) -> int:
    """Return what a prepared slice of a case holds for background: 0, or the code of what it may be."""
    return IGNORED - sets.index((0, *case.unlabelled)) if case.unlabelled else 0


def possible_classes(sets: PartialSets, classes: int) -> Tensor | None:
    """Return which classes a pixel may be, by the number in its label: (256, K) bool; None where labels are certain."""
    if not sets:
        return None
    possible = torch.zeros(IGNORED + 1, classes, dtype=torch.bool)
    possible[:classes] = torch.eye(classes, dtype=torch.bool)
    for place, members in enumerate(sets):
        possible[IGNORED - place, list(members)] = True
    return possible


def unmarked_structures(labels: NDArray[np.uint8], sets: PartialSets) -> Sequence[int]:
    """Return the structures that nobody marked in a case, by the codes in its slices."""
    codes = np.flatnonzero(np.bincount(labels.ravel(), minlength=IGNORED + 1))
    members = {member for place, found in enumerate(sets) if place and IGNORED - place in codes for member in found}
    return sorted(members - {0})
