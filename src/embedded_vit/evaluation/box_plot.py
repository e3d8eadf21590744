"""Box plots of a metric: one box for each structure, one dot for each case."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from embedded_vit.evaluation.charts import INK, chart
from embedded_vit.printable import printable

__all__ = ["box_plot"]

WIDTH, ROW_HEIGHT, CHARACTER_WIDTH = 5.0, 0.32, 0.085  # inches
RIGHT, BOTTOM, TOP = 0.2, 0.3, 0.05  # margins in inches; the scale is below
BOX_HEIGHT, DOT_SPREAD = 0.6, 0.45  # in rows
WHISKER_REACH = 1.5  # in boxes, beyond the box
GOLDEN_RATIO = 0.618034  # spreads dots of similar values, in the same way at every run
NAMED_OUTLIERS, OUTLIER_SIZE = 2, 7  # for each structure; points
APART = 0.24  # of a row: where the names of two outliers stand, above and below its middle, so that both can be read


def box_plot(
    values: NDArray[np.float64],
    names: tuple[str, ...],
    colours: tuple[str, ...],
    cases: tuple[str, ...],
    *,
    highest: float | None = None,
) -> Figure:
    """Draw one horizontal box for each structure, with each case as a dot.

    A box reaches from the first to the third quartile, its whiskers to the farthest values within 1.5 boxes. The two
    cases that are farthest beyond the whiskers are named.

    Args:
        values: (cases, structures), at least 0, NaN where excluded.
        names, colours: One for each structure.
        cases: One name for each case.
        highest: The end of the scale; by default a round number above the largest value.
    """
    names, cases = tuple(map(printable, names)), tuple(map(printable, cases))
    left = CHARACTER_WIDTH * (2 + max(map(len, names)))
    figure, axes = chart(WIDTH, BOTTOM + TOP + ROW_HEIGHT * len(names), margins=(left, RIGHT, BOTTOM, TOP))
    scale = MaxNLocator(nbins=5, steps=[1, 2, 5, 10]).tick_values(0, highest or np.nanmax(values, initial=0.0) or 1.0)
    axes.set_xticks(scale)
    axes.set_xlim(0, scale[-1])
    axes.xaxis.set_major_formatter("{x:.6g}")
    axes.set_yticks(range(len(names)), names, parse_math=False)  # a name may hold a dollar
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    for row, colour in enumerate(colours):
        known = ~np.isnan(values[:, row])
        if known.any():
            _draw_row(axes, row, values[known, row], list(compress(cases, known)), colour)
    return figure


def _draw_row(axes: Axes, row: int, values: NDArray[np.float64], cases: Sequence[str], colour: str) -> None:
    low, median, high = np.percentile(values, [25, 50, 75])
    reach = WHISKER_REACH * (high - low)
    beyond = np.maximum(low - reach - values, values - high - reach)  # above 0 for outliers
    whiskers = values[beyond <= 0]
    axes.hlines(row, whiskers.min(), whiskers.max(), color=INK, linewidth=1.2)
    axes.barh(row, high - low, BOX_HEIGHT, low, facecolor=(colour, 0.35), edgecolor=colour)
    axes.vlines(median, row - BOX_HEIGHT / 2, row + BOX_HEIGHT / 2, color=INK, linewidth=2)
    places = row + DOT_SPREAD * (np.arange(len(values)) * GOLDEN_RATIO % 1 - 0.5)
    axes.scatter(values, places, 20, colour, edgecolors="white", linewidths=0.5, zorder=3, clip_on=False)
    named = [place for place in np.argsort(-beyond)[:NAMED_OUTLIERS] if beyond[place] > 0]
    heights = places[named] if len(named) == 1 else row + APART * np.linspace(-1, 1, len(named))
    for place, height in zip(sorted(named, key=lambda place: places[place]), heights, strict=True):
        side = 1 if values[place] < np.mean(axes.get_xlim()) else -1  # on the side with more room
        axes.annotate(
            cases[place],
            (values[place], height),
            (side * 5, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            color=INK,
            size=OUTLIER_SIZE,
            parse_math=False,
        )
