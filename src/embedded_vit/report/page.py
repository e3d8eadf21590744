"""The page: one HTML file with everything in it, no script and no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.evaluation.report import page_environment
from embedded_vit.report.panel import Panel
from embedded_vit.report.paper_points import PAPER_NETWORKS, PAPER_PRUNING, PaperNetwork
from embedded_vit.report.pareto_plot import Plot, Point, scatter_plot
from embedded_vit.report.rows import ReportRow
from embedded_vit.report.tables import Column

__all__ = ["PageFacts", "plots_of", "render_page"]

SERIES = 8  # colours that the page has


@dataclass(frozen=True)
class PageFacts:
    """What the page says besides figures.

    Attributes:
        notes: What a reader must know, a sentence each.
        data: The data set's name.
        machine, versions, created: Where and when latency was measured.
        title: What the rows are.
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
    """Render the page.

    Args:
        rows: At least one.
        columns: Of the table.
        panel: The slice that every row segmented; None where there is none for all.
        facts: The rest.
        plots: By default `plots_of(rows)`.

    Returns:
        A complete HTML document.
    """
    first_test = next((row.measured.test for row in rows if row.measured.test), None)
    return (
        page_environment()
        .get_template("report/page.html.j2")
        .render(
            rows=rows,
            series=series_of(rows),
            columns=columns,
            organs=list(first_test.organs) if first_test else [],
            plots=plots_of(rows) if plots is None else plots,
            panel=panel,
            facts=facts,
            research_use_only=RESEARCH_USE_ONLY,
        )
    )


def series_of(rows: Sequence[ReportRow]) -> list[int]:
    """The colour of every row: one for each run."""
    runs = list(dict.fromkeys(row.run for row in rows))
    return [runs.index(row.run) % SERIES for row in rows]


def plots_of(rows: Sequence[ReportRow]) -> list[Plot]:
    """Dice against latency, operations and size, and the Dice that zero weights cost, beside the paper's points."""
    plots = (
        _dice_plot("Dice against latency", "median of one image, 1 thread (ms)", rows, lambda row: row.latency_ms["1"]),
        _dice_plot(
            "Dice against operations",
            "multiply-accumulates of one image (millions)",
            rows,
            lambda row: row.measured.macs / 1e6,
            lambda network: network.macs / 1e6,
        ),
        _dice_plot(
            "Dice against size",
            "file, zipped (MB)",
            rows,
            lambda row: row.measured.deflated_bytes / 1e6,
            lambda network: network.checkpoint_bytes / 1e6,
        ),
        _pruning_plot(rows),
    )
    return [plot for plot in plots if plot is not None]


def _dice_plot(
    title: str,
    x_title: str,
    rows: Sequence[ReportRow],
    x_of: Callable[[ReportRow], float],
    paper_x_of: Callable[[PaperNetwork], float] | None = None,
) -> Plot | None:
    """Test Dice over what it costs; None where no row has any."""
    points = []
    for number, (row, series) in enumerate(zip(rows, series_of(rows), strict=True), 1):
        if row.measured.test is not None and row.dice is not None:
            title_of = f"{row.name}: Dice {row.dice:.3f}, {x_of(row):.3g}"
            points.append(Point(str(number), title_of, x_of(row), row.dice, row.measured.test.dice_interval, series))
    if not points:
        return None
    if paper_x_of is not None:
        for network in PAPER_NETWORKS:
            title_of = f"the paper's {network.name}: Dice {network.dice:.3f}, {paper_x_of(network):.3g}"
            points.append(Point(f"paper {network.name}", title_of, paper_x_of(network), network.dice))
    return scatter_plot(title, x_title, "Dice", points)


def _pruning_plot(rows: Sequence[ReportRow]) -> Plot | None:
    """What zero weights cost: the paper's losses, and those of rows with weights that are zero; None without any."""
    points = []
    for number, (row, series) in enumerate(zip(rows, series_of(rows), strict=True), 1):
        if row.has_zeros and row.dice is not None and row.original_dice is not None:
            change = 100 * (row.dice - row.original_dice)
            title = f"{row.name}: {100 * row.sparsity:.0f} % zero, {change:+.1f} points"
            points.append(Point(str(number), title, 100 * row.sparsity, change, None, series))
    if not points:
        return None
    for pruning in PAPER_PRUNING:
        title = f"the paper's: {100 * pruning.sparsity:.0f} % zero, {-100 * pruning.dice_lost:+.1f} points"
        points.append(Point("paper", title, 100 * pruning.sparsity, -100 * pruning.dice_lost))
    return scatter_plot(
        "What zero weights cost", "weights that are zero (%)", "Dice, points", points, x_range=(0, 100), front=False
    )
