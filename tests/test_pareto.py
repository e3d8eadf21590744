from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedded_vit.pareto import pareto_front

Point = tuple[int, int]
POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)))


def front_of(points: list[Point]) -> list[Point]:
    return pareto_front(points, cost=lambda point: point[0], quality=lambda point: point[1])


def test_the_front_of_nothing_is_empty() -> None:
    assert front_of([]) == []


@given(points=POINTS)
def test_a_point_is_on_the_front_if_no_other_one_beats_it(points: list[Point]) -> None:
    def beaten(point: Point) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)

    assert front_of(points) == sorted({point for point in points if not beaten(point)})
