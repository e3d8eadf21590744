"""The page of a report: one HTML file without scripts that loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.evaluation.charts import chart_address
from embedded_vit.evaluation.report import page_environment
from embedded_vit.report.compared_points import ComparedPoint
from embedded_vit.report.panel import Panel
from embedded_vit.report.pareto_plot import SERIES_COLOURS, Plot, Point, draw
from embedded_vit.report.rows import ReportRow
from embedded_vit.report.tables import Column

__all__ = ["PageFacts", "plots_of", "render_page"]


@dataclass(frozen=True)
class PageFacts:
    """The text of a page beside its figures.

    Attributes:
        notes: Notes for the reader, one sentence each.
        data: The data set's name.
        machine, versions, created: Where and when latency was measured.
        title: The heading, without the name of the data set.
    """

    notes: tuple[str, ...]
    data: str
    machine: str
    versions: dict[str, str]
    created: str
    title: str = "Runs and compression steps"


def render_page(
    rows: Sequence[ReportRow],
    columns: Sequence[Column],
    panel: Panel | None,
    facts: PageFacts,
    *,
    plots: Sequence[Plot] | None = None,
) -> str:
    """Render the page of a report.

    Args:
        rows: The rows, at least one.
        columns: The columns of the table.
        panel: One slice as every row segments it; None without a test case that all share.
        facts: The text of the page.
        plots: By default `plots_of(rows)`.

    Returns:
        A complete HTML document.
    """
    plots = plots_of(rows) if plots is None else plots
    first_test = next((row.measured.test for row in rows if row.measured.test), None)
    return (
        page_environment()
        .get_template("report/page.html.j2")
        .render(
            rows=rows,
            series=series_of(rows),
            columns=columns,
            organs=list(first_test.organs) if first_test else [],
            colours=SERIES_COLOURS,
            plots={plot.title: chart_address(draw(plot)) for plot in plots},
            compared=any(point.series is None for plot in plots for point in plot.points),
            panel=panel,
            facts=facts,
            research_use_only=RESEARCH_USE_ONLY,
        )
    )


def series_of(rows: Sequence[ReportRow]) -> list[int]:
    """Return a number for the colour of every row; all rows of a run have the same."""
    runs = list(dict.fromkeys(row.run for row in rows))
    return [runs.index(row.run) % len(SERIES_COLOURS) for row in rows]


def plots_of(rows: Sequence[ReportRow], compared: Sequence[ComparedPoint] = ()) -> list[Plot]:
    """Plan the plots of Dice against latency, MACs and size, and of the Dice that zero weights cost.

    Args:
        rows: The rows. Rows without test cases are not drawn; a plot without any row is left out.
        compared: Points of other work, in each plot whose values they give. A plot against parameters is made only
            where they give these.
    """
    plots = [
        _dice_plot(
            "Dice against latency",
            "median of one image, 1 thread (ms)",
            rows,
            lambda row: row.latency_ms["1"],
            [(point, point.latency_ms) for point in compared],
        ),
        _dice_plot(
            "Dice against MACs",
            "multiply-accumulates of one image (millions)",
            rows,
            lambda row: row.measured.macs / 1e6,
            [(point, _millions(point.macs)) for point in compared],
        ),
        _dice_plot(
            "Dice against size",
            "file, zipped (MB)",
            rows,
            lambda row: row.measured.deflated_bytes / 1e6,
            [(point, _millions(point.file_bytes)) for point in compared],
        ),
    ]
    if any(point.parameters is not None for point in compared):
        parameters = [(point, _millions(point.parameters)) for point in compared]
        plots.append(
            _dice_plot(
                "Dice against parameters",
                "parameters (millions)",
                rows,
                lambda row: row.measured.parameters / 1e6,
                parameters,
            )
        )
    plots.append(_pruning_plot(rows, compared))
    return [plot for plot in plots if plot is not None]


def _millions(count: float | None) -> float | None:
    return None if count is None else count / 1e6


def _dice_plot(
    title: str,
    x_title: str,
    rows: Sequence[ReportRow],
    x_of: Callable[[ReportRow], float],
    compared: Sequence[tuple[ComparedPoint, float | None]],
) -> Plot | None:
    """Plan a plot of test Dice over a cost; None where no row has any."""
    points = [
        Point(str(number), x_of(row), row.dice, row.measured.test.dice_interval, series)
        for number, (row, series) in enumerate(zip(rows, series_of(rows), strict=True), 1)
        if row.measured.test is not None and row.dice is not None
    ]
    if not points:
        return None
    points += [Point(point.name, x, point.dice) for point, x in compared if x is not None and point.dice is not None]
    return Plot(title, x_title, "Dice", tuple(points))


def _pruning_plot(rows: Sequence[ReportRow], compared: Sequence[ComparedPoint]) -> Plot | None:
    """Plan a plot of what zero weights cost; None where no row has weights that are zero."""
    points = [
        Point(str(number), 100 * row.sparsity, 100 * (row.dice - row.original_dice), None, series)
        for number, (row, series) in enumerate(zip(rows, series_of(rows), strict=True), 1)
        if row.has_zeros and row.dice is not None and row.original_dice is not None
    ]
    if not points:
        return None
    points += [
        Point(point.name, 100 * point.zero_weights, 100 * point.dice_change)
        for point in compared
        if point.zero_weights is not None and point.dice_change is not None
    ]
    return Plot(
        "What zero weights cost",
        "weights that are zero (%)",
        "Dice, points",
        tuple(points),
        x_range=(0, 100),
        joined=False,
    )
