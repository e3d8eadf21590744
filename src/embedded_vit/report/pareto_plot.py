"""Scatter plots as SVG shapes: where points, their numbers, the Pareto front and the scales lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedded_vit.evaluation.box_plot import round_step
from embedded_vit.pareto import pareto_front

__all__ = ["Mark", "Plot", "Point", "front_of", "scatter_plot"]

WIDTH, HEIGHT = 480.0, 330.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 20.0, 30.0, 44.0  # margins, for the scales
LABEL_HEIGHT, LABEL_DISTANCE, LABEL_RISE, CHARACTER_WIDTH = 14.0, 8.0, 8.0, 7.5


@dataclass(frozen=True)
class Point:
    """What is drawn.

    Attributes:
        label: A few characters beside the point.
        title: What the pointer tells.
        x, y: Its values.
        interval: Lowest and highest y that it stands for.
        series: Points of one series have one colour; None for what was not measured here.
    """

    label: str
    title: str
    x: float
    y: float
    interval: tuple[float, float] | None = None
    series: int | None = None


@dataclass(frozen=True)
class Mark:
    """A point in user units of SVG; `label_x`, `label_y` are where its label begins."""

    point: Point
    x: float
    y: float
    low_y: float
    high_y: float
    label_x: float
    label_y: float


@dataclass(frozen=True)
class Plot:
    """A chart in user units of SVG; ticks are (place, text), `front` is the points of a polyline."""

    title: str
    x_title: str
    y_title: str
    marks: tuple[Mark, ...]
    front: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    floor: float = HEIGHT - BOTTOM


def scatter_plot(
    title: str,
    x_title: str,
    y_title: str,
    points: Sequence[Point],
    *,
    x_range: tuple[float, float] | None = None,
    front: bool = True,
) -> Plot:
    """Lay out points, y upwards.

    Args:
        title, x_title, y_title: What is drawn, with units.
        points: At least one.
        x_range: The ends of a linear scale of x; by default it is logarithmic, as wide as the points, whose x are
            above 0.
        front: Whether to join the points of the measured series that no other one beats in x and y.
    """
    x_ends, x_numbers = _linear_scale(x_range) if x_range else _log_scale([point.x for point in points])
    y_ends, y_numbers = _linear_scale([y for point in points for y in (point.y, *(point.interval or ()))])
    across = _mapping(x_ends, (LEFT, WIDTH - RIGHT), logarithmic=x_range is None)
    up = _mapping(y_ends, (HEIGHT - BOTTOM, TOP), logarithmic=False)
    corners: list[tuple[float, float]] = []
    if front:
        for point in front_of(points):
            corners += [(across(point.x), corners[-1][1])] if corners else []
            corners.append((across(point.x), up(point.y)))
    return Plot(
        title=title,
        x_title=x_title,
        y_title=y_title,
        marks=_marks(points, across, up),
        front=" ".join(f"{x:.1f},{y:.1f}" for x, y in corners),
        x_ticks=tuple((across(number), f"{number:.6g}") for number in x_numbers),
        y_ticks=tuple((up(number), f"{number:.6g}") for number in y_numbers),
    )


def front_of(points: Sequence[Point]) -> list[Point]:
    """Return the measured points on the Pareto front of a low x and a high y, by rising x."""
    measured = [point for point in points if point.series is not None]
    return pareto_front(measured, cost=lambda point: point.x, quality=lambda point: point.y)


def _marks(points: Sequence[Point], across: Callable[[float], float], up: Callable[[float], float]) -> tuple[Mark, ...]:
    """Place each label to the upper right of its point, to the left at the edge, and lower until it hits no other."""
    taken: list[tuple[float, float, float]] = []  # left, right and y of the labels that are placed
    marks = []
    for point in sorted(points, key=lambda point: -point.y):
        x, y = across(point.x), up(point.y)
        label_width = CHARACTER_WIDTH * len(point.label)
        left = x + LABEL_DISTANCE
        if left + label_width > WIDTH:
            left = x - LABEL_DISTANCE - label_width
        label_y = y - LABEL_RISE
        while any(
            left < other_right and other_left < left + label_width and abs(label_y - other_y) < LABEL_HEIGHT
            for other_left, other_right, other_y in taken
        ):
            label_y += 1
        taken.append((left, left + label_width, label_y))
        low, high = point.interval or (point.y, point.y)
        marks.append(Mark(point, x, y, up(low), up(high), left, label_y))
    return tuple(sorted(marks, key=lambda mark: mark.point.series is not None))  # ours are drawn over the paper's


def _linear_scale(values: Sequence[float]) -> tuple[tuple[float, float], list[float]]:
    """Round ends around the values, and the numbers to write."""
    step = round_step((max(values) - min(values) or 0.1) / 5)
    first, last = math.floor(min(values) / step), math.ceil(max(values) / step)
    last += first == last
    return (first * step, last * step), [number * step for number in range(first, last + 1)]


def _log_scale(values: Sequence[float]) -> tuple[tuple[float, float], list[float]]:
    """Ends a little beyond the values, and 1, 2 and 5 times powers of ten between them; powers alone where many."""
    low, high = min(values) / 1.3, max(values) * 1.3
    factors = (1, 2, 5) if high / low < 300 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return (low, high), [n for power in powers for factor in factors if low <= (n := factor * 10.0**power) <= high]


def _mapping(ends: tuple[float, float], places: tuple[float, float], *, logarithmic: bool) -> Callable[[float], float]:
    scale: Callable[[float], float] = math.log10 if logarithmic else float
    low, high = scale(ends[0]), scale(ends[1])
    return lambda value: places[0] + (scale(value) - low) / (high - low) * (places[1] - places[0])
