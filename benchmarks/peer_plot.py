"""The plot of Dice against milliseconds: a panel for each data set and length of training, with its Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from embedded_vit.evaluation.charts import FONT_SIZE, INK
from embedded_vit.io.atomic import atomic_path
from embedded_vit.pareto import pareto_front

__all__ = ["Dot", "Panel", "figure_of", "save_plot"]

OURS, PEERS = "#d1495b", "#1b6ca8"
PANEL_WIDTH, PANEL_HEIGHT = 5.6, 4.2  # inches
PANELS_A_ROW = 3
DOTS_PER_INCH = 150
TICKS_MS = (0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200)
LABEL_SIZE = 7  # points


@dataclass(frozen=True)
class Dot:
    """A network: milliseconds of one image, its Dice, and whether it was tested on everybody who is compared."""

    name: str
    milliseconds: float
    dice: float
    ours: bool
    complete: bool


@dataclass(frozen=True)
class Panel:
    """One data set and length of training."""

    title: str
    dots: tuple[Dot, ...]

    def front(self) -> list[Dot]:
        """Return the networks that no other one beats, of those that are compared, by rising latency."""
        return pareto_front(
            (dot for dot in self.dots if dot.complete), cost=lambda dot: dot.milliseconds, quality=lambda dot: dot.dice
        )


def save_plot(panels: Sequence[Panel], path: Path) -> None:
    """Write the plot as PNG, in place of an older one.

    Raises:
        OutputError: It cannot be written.
    """
    with atomic_path(path, overwrite=True) as temporary:
        figure_of(panels).savefig(temporary, format="png", dpi=DOTS_PER_INCH)


def figure_of(panels: Sequence[Panel]) -> Figure:
    """Draw the panels, at most three in a row."""
    columns = min(PANELS_A_ROW, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(columns * PANEL_WIDTH, rows * PANEL_HEIGHT), layout="constrained", facecolor="none")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for place, panel in zip(axes, panels, strict=False):
        _draw(place, panel)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_facecolor("none")
    axes.set_xscale("log")
    front = panel.front()
    axes.plot([dot.milliseconds for dot in front], [dot.dice for dot in front], color=INK, linewidth=1, zorder=1)
    for dot in panel.dots:
        colour = OURS if dot.ours else PEERS
        filled = colour if dot.complete else "none"
        axes.scatter(
            dot.milliseconds, dot.dice, 28, filled, edgecolors=colour, marker="o" if dot.ours else "s", zorder=2
        )
        axes.annotate(dot.name, (dot.milliseconds, dot.dice), (4, 4), textcoords="offset points", color=INK,
                      size=LABEL_SIZE, parse_math=False)  # fmt: skip
    if panel.dots:
        low, high = (pick(dot.milliseconds for dot in panel.dots) for pick in (min, max))
        shown = [tick for tick in TICKS_MS if 0.5 * low <= tick <= 2 * high]
        axes.set_xlim(0.7 * low, 1.7 * high)  # room for the last name
        axes.set_xticks([tick for tick in shown if 0.7 * low <= tick <= 1.7 * high])
        axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title(panel.title, color=INK, size=FONT_SIZE, parse_math=False)
    axes.set_xlabel("ms of one slice, one thread (circles: ours, hollow: fewer patients)")
    axes.set_ylabel("Dice")
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, size=FONT_SIZE)
    axes.tick_params(length=0, labelcolor=INK, labelsize=FONT_SIZE)
    axes.spines[:].set_visible(False)
    axes.grid(color=INK, alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)
