"""The Pareto front: the candidates that no other one beats in both cost and quality."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["pareto_front"]

Candidate = TypeVar("Candidate")


def pareto_front(
    candidates: Iterable[Candidate], *, cost: Callable[[Candidate], float], quality: Callable[[Candidate], float]
) -> list[Candidate]:
    """Return the candidates on the front, by rising cost.

    A candidate is on the front if every other one of the same or a lower cost has a lower quality; of several with the
    same cost and quality the first one is.

    Args:
        candidates: In any order.
        cost: Lower is better.
        quality: Higher is better.
    """
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda candidate: (cost(candidate), -quality(candidate))):
        if not front or quality(candidate) > quality(front[-1]):
            front.append(candidate)
    return front
