"""Which entries along the axes of all tensors of a graph can only be removed together.

Every entry along every axis of every tensor has a number. Entries that an operation ties to each other, as the channels
of a sum, are united (union-find). Entries united with number 0 stay: pixels, tokens, classes, what an operation needs
as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIXED", "Axis", "Entries"]

Axis = NDArray[np.int64]  # (length,) the number of each entry along one axis of a tensor
FIXED = 0


@dataclass(frozen=True)
class _Product:
    """An axis whose entries are all combinations of those of other axes, the last running fastest, as in a reshape."""

    whole: Axis
    factors: tuple[Axis, ...]


class Entries:
    """The entries of a graph, and which of them belong together."""

    def __init__(self) -> None:
        self._parent = [FIXED]
        self._products: list[_Product] = []
        self._inside_heads: list[Axis] = []
        self._heads: list[Axis] = []

    def fresh(self, length: int) -> Axis:
        """Return an axis of new entries; one of a single entry is fixed, as it stands for any length."""
        if length == 1:
            return self.fixed(1)
        first = len(self._parent)
        self._parent.extend(range(first, first + length))
        return np.arange(first, first + length)

    def fixed(self, length: int) -> Axis:
        """Return an axis whose entries all stay."""
        return np.zeros(length, np.int64)

    def fix(self, axis: Axis) -> None:
        """Let all entries of an axis stay."""
        for entry in axis.tolist():
            self._unite(FIXED, entry)

    def unite(self, first: Axis, second: Axis) -> None:
        """Tie two axes of the same length to each other, entry by entry."""
        if first is not second:
            for one, other in zip(first.tolist(), second.tolist(), strict=True):
                self._unite(one, other)

    def tie(self, whole: Axis, factors: Sequence[Axis]) -> None:
        """Note that an axis holds all combinations of other axes; `settle` decides which of them its channels are."""
        if len(factors) == 1:
            self.unite(whole, factors[0])
        else:
            self._products.append(_Product(whole, tuple(factors)))

    def note_attention(self, *, heads: Iterable[Axis], inside: Iterable[Axis]) -> None:
        """Note what a product of two features says of its axes, so that heads are removed whole."""
        self._heads.extend(heads)
        self._inside_heads.extend(inside)

    def roots(self, axis: Axis) -> Axis:
        """Return one number for all entries that belong together: (length,); `FIXED` for those that stay."""
        return np.array([self._root(entry) for entry in axis.tolist()], np.int64)

    def is_free(self, axis: Axis) -> bool:
        """Whether any entry of an axis can be removed."""
        return any(self._root(entry) != FIXED for entry in axis.tolist())

    def settle(self) -> None:
        """Decide, for each axis that holds combinations, along which factor it can lose entries: one at most.

        Of the axes that a reshape makes of features, those inside a head are fixed first, so that heads stay whole;
        then those that are no heads, the shortest first, as the rows and columns of a pixel shuffle.
        """
        while True:
            while sum(self._settled(product) for product in self._products):  # each pass settles all that it can
                pass
            open_ones = [self._free_factors(product) for product in self._products]
            undecided = [free for free in open_ones if len(free) > 1]
            if not undecided:
                return
            inside, heads = self._roots_of(self._inside_heads), self._roots_of(self._heads)
            self.fix(min(undecided[0], key=lambda axis: self._preference(axis, inside, heads)))

    def _preference(self, axis: Axis, inside: set[int], heads: set[int]) -> tuple[bool, bool, int]:
        roots = set(self.roots(axis).tolist())
        return not roots & inside, bool(roots & heads), len(axis)

    def _roots_of(self, axes: Iterable[Axis]) -> set[int]:
        return {root for axis in axes for root in self.roots(axis).tolist()}

    def _free_factors(self, product: _Product) -> list[Axis]:
        return [factor for factor in product.factors if self.is_free(factor)]

    def _settled(self, product: _Product) -> bool:
        """Unite what is certain; tell whether anything changed."""
        free = self._free_factors(product)
        if not self.is_free(product.whole):
            for factor in free:
                self.fix(factor)
            return bool(free)
        if not free:
            self.fix(product.whole)
            return True
        if len(free) > 1:
            return False
        place = next(number for number, factor in enumerate(product.factors) if factor is free[0])
        lengths = [len(factor) for factor in product.factors]
        after = math.prod(lengths[place + 1 :])
        along = np.arange(len(product.whole)) // after % lengths[place]  # the factor's entry at each place
        changed = False
        for one, other in zip(product.whole.tolist(), free[0][along].tolist(), strict=True):
            changed |= self._unite(one, other)
        return changed

    def _root(self, entry: int) -> int:
        parent = self._parent
        while parent[entry] != entry:
            parent[entry] = parent[parent[entry]]
            entry = parent[entry]
        return entry

    def _unite(self, one: int, other: int) -> bool:
        first, second = sorted((self._root(one), self._root(other)))
        self._parent[second] = first  # the lowest number is the root: 0 always is
        return first != second
