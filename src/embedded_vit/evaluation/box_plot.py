"""Box plots as SVG shapes: where boxes, whiskers and dots lie, for the report's template to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "BoxPlot", "Dot", "box_plot", "round_step"]

ROW_HEIGHT = 30.0
LEFT, RIGHT, TOP, BOTTOM = 112.0, 16.0, 4.0, 28.0  # margins, for names and for the scale
WIDTH = 480.0


@dataclass(frozen=True)
class Dot:
    """One case of one structure."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Box:
    """One structure: a box from the first to the third quartile, whiskers to the farthest values within 1.5 boxes."""

    name: str
    colour: str
    y: float
    whisker_low: float
    quartile_low: float
    median: float
    quartile_high: float
    whisker_high: float
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class BoxPlot:
    """A chart in user units of SVG; ticks are (x, text)."""

    title: str
    width: float
    height: float
    left: float
    floor: float
    boxes: tuple[Box, ...]
    ticks: tuple[tuple[float, str], ...]


def box_plot(
    title: str,
    values: NDArray[np.float64],
    names: tuple[str, ...],
    colours: tuple[str, ...],
    cases: tuple[str, ...],
    *,
    highest: float | None = None,
) -> BoxPlot:
    """Lay out one horizontal box a structure, each case a dot.

    Args:
        title: What is measured, with its unit.
        values: (cases, structures), at least 0, NaN where excluded.
        names, colours: One a structure.
        cases: One name a case, for the dots' titles.
        highest: The end of the scale; by default a round number above the largest value.
    """
    largest = float(np.nanmax(values, initial=0.0))
    step = round_step((highest or largest or 1.0) / 5)
    end = highest or step * max(1, math.ceil(largest / step))
    across = (WIDTH - LEFT - RIGHT) / end
    boxes = []
    for organ, (name, colour) in enumerate(zip(names, colours, strict=True)):
        y = TOP + (organ + 0.5) * ROW_HEIGHT
        known = [(case, value) for case, value in zip(cases, values[:, organ], strict=True) if not math.isnan(value)]
        if known:
            boxes.append(_box(name, colour, y, known, across))
    floor = TOP + ROW_HEIGHT * len(names)
    ticks = tuple((LEFT + tick * step * across, f"{tick * step:.6g}") for tick in range(round(end / step) + 1))
    return BoxPlot(title, WIDTH, floor + BOTTOM, LEFT, floor, tuple(boxes), ticks)


def _box(name: str, colour: str, y: float, known: list[tuple[str, float]], across: float) -> Box:
    numbers = np.array([value for _, value in known])
    low, middle, high = np.percentile(numbers, [25, 50, 75])
    reach = 1.5 * (high - low)
    whiskers = numbers[(numbers >= low - reach) & (numbers <= high + reach)]
    dots = tuple(
        Dot(LEFT + value * across, y + _spread(place), f"{case}: {value:.3f}")
        for place, (case, value) in enumerate(known)
    )
    return Box(
        name=name,
        colour=colour,
        y=y,
        whisker_low=LEFT + float(whiskers.min()) * across,
        quartile_low=LEFT + float(low) * across,
        median=LEFT + float(middle) * across,
        quartile_high=LEFT + float(high) * across,
        whisker_high=LEFT + float(whiskers.max()) * across,
        dots=dots,
    )


def _spread(place: int) -> float:
    """A vertical shift that keeps dots of like values apart, the same at every run: -7 to 7."""
    return ((place * 0.618034) % 1 - 0.5) * 14


def round_step(step: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
