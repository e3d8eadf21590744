from __future__ import annotations

import itertools

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embedded_vit.report.pareto_plot import Plot, Point, draw


def point(x: float, y: float, series: int | None = 0, label: str = "1") -> Point:
    return Point(label, x, y, series=series)


def plot_of(*points: Point, **options) -> Plot:
    return Plot("", "", "", points, **options)


def axes_of(*points: Point, **options) -> Axes:
    (axes,) = draw(plot_of(*points, **options)).axes
    return axes


def places_of(axes: Axes) -> list[tuple[float, float]]:
    """Return the places of points in axes coordinates: 0 to 1 from left to right and upwards."""
    drawn = [line for line in axes.lines if line.get_linestyle() == "None"]
    to_axes = axes.transData + axes.transAxes.inverted()
    return [tuple(to_axes.transform((line.get_xdata()[0], line.get_ydata()[0]))) for line in drawn]


def numbers_of(axes: Axes, which: str) -> list[str]:
    """Return the visible numbers at an axis."""
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    low, high = axis.get_view_interval()
    seen = [place for place in axis.get_majorticklocs() if low <= place <= high]
    return axis.get_major_formatter().format_ticks(seen)


def test_the_front_is_what_no_other_point_beats() -> None:
    cheap, beaten, equal_but_dearer, best = point(1, 0.5), point(2, 0.4), point(3, 0.5), point(4, 0.8)
    assert plot_of(best, equal_but_dearer, beaten, cheap).front == [cheap, best]
    assert plot_of(point(1, 0.3), point(1, 0.6)).front == [point(1, 0.6)]


def test_points_that_were_not_measured_here_are_not_on_our_front() -> None:
    axes = axes_of(point(1, 0.9, None, "paper"), point(10, 0.5), point(100, 0.7))
    (stairs,) = [line for line in axes.lines if line.get_linestyle() != "None"]
    assert stairs.get_drawstyle() == "steps-post"  # a stair, not a slope
    assert stairs.get_xydata().tolist() == [[10, 0.5], [100, 0.7]]


def test_without_a_front_nothing_is_joined() -> None:
    axes = axes_of(point(10, 0.5), point(100, 0.7), joined=False)
    assert all(line.get_linestyle() == "None" for line in axes.lines)


def test_equal_ratios_are_equal_distances_and_more_dice_is_higher() -> None:
    first, second, third = sorted(places_of(axes_of(point(1, 0.5), point(10, 0.6), point(100, 0.7))))
    assert second[0] - first[0] == pytest.approx(third[0] - second[0])
    assert first[1] < second[1] < third[1]
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in (first, second, third))


def test_intervals_lie_on_the_scale() -> None:
    axes = axes_of(Point("1", 5, 0.5, (0.2, 0.9), 0))
    low, high = axes.get_ylim()
    (interval,) = axes.collections
    (ends,) = interval.get_segments()
    assert low <= ends[:, 1].min() < 0.5 < ends[:, 1].max() <= high


def label_boxes(figure: Figure) -> list:
    figure.canvas.draw()
    return [text.get_window_extent() for text in figure.axes[0].texts]


def test_labels_of_points_in_one_place_do_not_overlap() -> None:
    figure = draw(plot_of(*(point(5, 0.5, label=str(number)) for number in range(10, 16))))
    for one, other in itertools.combinations(label_boxes(figure), 2):
        assert not one.overlaps(other)


def test_long_labels_stay_in_the_picture() -> None:
    figure = draw(plot_of(point(1, 0.5), point(100, 0.7, None, "another network")))
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in label_boxes(figure))


def test_a_label_is_not_read_as_a_formula() -> None:
    label_boxes(draw(plot_of(point(1, 0.5, None, "$x_{"))))


def test_ticks_are_round_numbers_within_the_plot() -> None:
    axes = axes_of(point(3, 0.42), point(70, 0.77))
    assert numbers_of(axes, "x") == ["5", "10", "20", "50"]
    assert numbers_of(axes, "y") == ["0.4", "0.5", "0.6", "0.7", "0.8"]


@pytest.mark.parametrize(
    ("low", "high", "numbers"),
    [
        (1.3, 1.5, ["1", "1.2", "1.4", "1.6", "1.8"]),
        (8.7, 11.2, ["8", "10", "12", "14"]),
        (11, 26_000, ["10", "100", "1000", "10000"]),
    ],
)
def test_every_range_has_numbers(low: float, high: float, numbers: list[str]) -> None:
    assert numbers_of(axes_of(point(low, 0.5), point(high, 0.6)), "x") == numbers


def test_a_given_range_is_linear() -> None:
    axes = axes_of(point(50, -3), point(90, -20), x_range=(0, 100), joined=False)
    assert axes.get_xlim() == (0, 100)
    assert axes.get_xscale() == "linear"
    assert numbers_of(axes, "x") == ["0", "20", "40", "60", "80", "100"]
