"""The style of the charts on our pages: matplotlib figures that become PNGs within the page.

The background is transparent and the ink is grey, so that one picture serves a light and a dark page.
"""

from __future__ import annotations

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embedded_vit.evaluation.pictures import png_address

__all__ = ["FONT_SIZE", "INK", "chart", "chart_address"]

INK = "#7b8087"  # contrast with a light page and with a dark one: 4
GRID_OPACITY = 0.25
FONT_SIZE = 9.5  # points
DOTS_PER_INCH = 220


def chart(width: float, height: float, *, margins: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """Make an empty chart.

    Args:
        width, height: In inches.
        margins: Left, right, bottom and top of the axes, in inches.
    """
    left, right, bottom, top = margins
    figure = Figure(figsize=(width, height), facecolor="none")
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height),
        facecolor="none",
    )
    axes.grid(color=INK, alpha=GRID_OPACITY, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=INK, labelsize=FONT_SIZE)
    axes.xaxis.label.set(color=INK, size=FONT_SIZE)
    axes.yaxis.label.set(color=INK, size=FONT_SIZE)
    return figure, axes


def chart_address(figure: Figure) -> str:
    """Return a chart as an address that holds its PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    return png_address(file.getvalue())
