"""Scatter plots of accuracy against cost: numbered points, their intervals, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, ScalarFormatter

from embedded_vit.evaluation.charts import FONT_SIZE, INK, chart
from embedded_vit.pareto import pareto_front
from embedded_vit.printable import printable

__all__ = ["SERIES_COLOURS", "Plot", "Point", "draw"]

# Most colour-blind readers can tell them apart, on a light page and on a dark one.
SERIES_COLOURS = ("#0f8ea2", "#dd5f28", "#8a62d8", "#57993a", "#cf458d", "#b07d12", "#4c7cdd", "#8d7869")

WIDTH, HEIGHT = 5.0, 3.5  # inches
MARGINS = (0.5, 0.2, 0.5, 0.35)  # left, right, bottom, top, in inches
FEW_POWERS, MANY_POWERS = 6, 300  # highest over lowest x: a logarithmic axis gets other numbers
# Labels, in points.
LABEL_SIZE, LABEL_HEIGHT, CHARACTER_WIDTH = 8.5, 10.5, 5.6
LABEL_DISTANCE, LABEL_RISE = 5.5, 5.5  # from the point to the label's lower left corner


@dataclass(frozen=True)
class Point:
    """A point of a plot.

    Attributes:
        label: A few characters beside the point.
        x, y: Its values.
        interval: Lower and upper end of the interval of y.
        series: Points of one series have one colour; None for a point that was not measured here.
    """

    label: str
    x: float
    y: float
    interval: tuple[float, float] | None = None
    series: int | None = None


@dataclass(frozen=True)
class Plot:
    """A plot of at least one point, y upwards.

    Attributes:
        title, x_title, y_title: Titles, with units.
        points: The points to draw.
        x_range: The ends of a linear scale of x; None for a logarithmic one as wide as the points, all above 0.
        joined: Whether a line joins the points on the Pareto front.
    """

    title: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]
    x_range: tuple[float, float] | None = None
    joined: bool = True

    @property
    def front(self) -> list[Point]:
        """The measured points on the Pareto front of a low x and a high y, by rising x."""
        measured = [point for point in self.points if point.series is not None]
        return pareto_front(measured, cost=lambda point: point.x, quality=lambda point: point.y)


def draw(plot: Plot) -> Figure:
    """Draw a plot; its title is left to the page.

    Measured points are discs in the colour of their series, others are diamonds in grey.
    """
    figure, axes = chart(WIDTH, HEIGHT, margins=MARGINS)
    _scale(axes, plot)
    axes.set_xlabel(plot.x_title)
    axes.set_title(plot.y_title, loc="left", color=INK, size=FONT_SIZE)
    if plot.joined:
        stairs = plot.front
        axes.step(
            [point.x for point in stairs], [point.y for point in stairs], "--", where="post", color=INK, linewidth=1.2
        )
    for point in sorted(plot.points, key=lambda point: point.series is not None):  # measured points lie on top
        _draw_point(axes, point)
    _label(axes, plot.points)
    return figure


def _scale(axes: Axes, plot: Plot) -> None:
    """Set the ends of both axes, and the numbers on them."""
    heights = [y for point in plot.points for y in (point.y, *(point.interval or ()))]
    axes.yaxis.set_major_locator(FixedLocator(_round_scale(min(heights), max(heights))))
    axes.set_ylim(*axes.get_yticks()[[0, -1]])
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    if plot.x_range is not None:
        axes.xaxis.set_major_locator(FixedLocator(_round_scale(*plot.x_range)))
        axes.set_xlim(*plot.x_range)
    else:
        low, high = min(point.x for point in plot.points) / 1.3, max(point.x for point in plot.points) * 1.3
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(FixedLocator(_log_scale(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:.6g}")


def _log_scale(low: float, high: float) -> list[float]:
    """Return round numbers within a range; most are powers of ten, and their multiples by 2 and 5 where these fit."""
    if high / low < FEW_POWERS:
        numbers: Sequence[float] = _round_scale(low, high)
    else:
        factors = (1, 2, 5) if high / low < MANY_POWERS else (1,)
        numbers = LogLocator(subs=factors, numticks=20).tick_values(low, high)
    return [number for number in numbers if low <= number <= high]


def _round_scale(low: float, high: float) -> list[float]:
    """Return round numbers around a range, about five."""
    margin = 0 if high > low else 0.05
    return list(MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low - margin, high + margin))


def _draw_point(axes: Axes, point: Point) -> None:
    measured = point.series is not None
    colour = INK if point.series is None else SERIES_COLOURS[point.series % len(SERIES_COLOURS)]
    if point.interval is not None:
        axes.vlines(point.x, *point.interval, color=colour, alpha=0.35, linewidth=1.8)
    axes.plot(
        point.x,
        point.y,
        "o" if measured else "D",
        color=colour,
        markerfacecolor=colour if measured else "none",
        markersize=7 if measured else 6,
        clip_on=False,
        zorder=3,
    )


def _label(axes: Axes, points: Sequence[Point]) -> None:
    """Write each label to the upper right of its point, to the left at the edge, and lower until it hits no other."""
    points_per_pixel = 72 / axes.figure.dpi
    right_edge = WIDTH * 72
    taken: list[tuple[float, float, float]] = []  # left, right and lower edge of the labels written, in points
    for point in sorted(points, key=lambda point: -point.y):
        x, y = axes.transData.transform((point.x, point.y)) * points_per_pixel
        label_width = CHARACTER_WIDTH * len(printable(point.label))
        left = x + LABEL_DISTANCE
        if left + label_width > right_edge:
            left = x - LABEL_DISTANCE - label_width
        low = y + LABEL_RISE / 2
        while any(
            left < other_right and other_left < left + label_width and abs(low - other_low) < LABEL_HEIGHT
            for other_left, other_right, other_low in taken
        ):
            low -= 1
        taken.append((left, left + label_width, low))
        measured = point.series is not None
        axes.annotate(
            printable(point.label),
            (point.x, point.y),
            (left - x, low - y),
            textcoords="offset points",
            color=INK if point.series is None else SERIES_COLOURS[point.series % len(SERIES_COLOURS)],
            size=LABEL_SIZE,
            weight="bold" if measured else "normal",
            parse_math=False,
        )
