from __future__ import annotations

import itertools

import pytest

from embedded_vit.report.pareto_plot import CHARACTER_WIDTH, LABEL_HEIGHT, Point, front_of, scatter_plot


def point(x: float, y: float, series: int | None = 0, label: str = "1") -> Point:
    return Point(label, "", x, y, series=series)


def test_the_front_is_what_no_other_point_beats() -> None:
    cheap, beaten, equal_but_dearer, best = point(1, 0.5), point(2, 0.4), point(3, 0.5), point(4, 0.8)
    assert front_of([best, equal_but_dearer, beaten, cheap]) == [cheap, best]
    assert front_of([point(1, 0.3), point(1, 0.6)]) == [point(1, 0.6)]


def test_the_papers_points_are_not_on_our_front() -> None:
    plot = scatter_plot("", "", "", [point(1, 0.9, None, "paper"), point(10, 0.5), point(100, 0.7)])
    places = {mark.point: (mark.x, mark.y) for mark in plot.marks}
    corners = [tuple(map(float, corner.split(","))) for corner in plot.front.split()]
    first, last = places[point(10, 0.5)], places[point(100, 0.7)]
    assert corners[0] == pytest.approx(first, abs=0.1)
    assert corners[-1] == pytest.approx(last, abs=0.1)
    assert corners[1] == pytest.approx((last[0], first[1]), abs=0.1)  # a stair, not a slope
    assert len(corners) == 3


def test_equal_ratios_are_equal_distances_and_more_dice_is_higher() -> None:
    plot = scatter_plot("", "", "", [point(1, 0.5), point(10, 0.6), point(100, 0.7)])
    first, second, third = sorted(plot.marks, key=lambda mark: mark.x)
    assert second.x - first.x == pytest.approx(third.x - second.x)
    assert first.y > second.y > third.y
    assert all(plot.left <= mark.x <= plot.right and plot.top <= mark.y <= plot.floor for mark in plot.marks)


def test_intervals_lie_on_the_scale() -> None:
    (mark,) = scatter_plot("", "", "", [Point("1", "", 5, 0.5, (0.2, 0.9), 0)]).marks
    assert 0 <= mark.high_y < mark.y < mark.low_y <= 330


def test_labels_of_points_in_one_place_do_not_overlap() -> None:
    marks = scatter_plot("", "", "", [point(5, 0.5, label=str(number)) for number in range(10, 16)]).marks
    for one, other in itertools.combinations(marks, 2):
        apart = abs(one.label_x - other.label_x) >= 2 * CHARACTER_WIDTH
        assert apart or abs(one.label_y - other.label_y) >= LABEL_HEIGHT - 1e-6


def test_ticks_are_round_numbers_within_the_plot() -> None:
    plot = scatter_plot("", "", "", [point(3, 0.42), point(70, 0.77)])
    assert [text for _, text in plot.x_ticks] == ["5", "10", "20", "50"]
    assert [text for _, text in plot.y_ticks] == ["0.4", "0.5", "0.6", "0.7", "0.8"]
    assert all(plot.left <= x <= plot.right for x, _ in plot.x_ticks)
