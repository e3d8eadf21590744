from __future__ import annotations

import re
from pathlib import Path

from example_rows import example_row, example_scores

from embedded_vit.report.compared_points import ComparedPoint, read_compared_points
from embedded_vit.report.page import PageFacts, plots_of, render_page
from embedded_vit.report.tables import columns_for

PAPER = read_compared_points(Path(__file__).parents[2] / "paper" / "points.csv")
FACTS = PageFacts(("A <note>.",), "data & more", "machine", {"torch": "2"}, "2026-01-01T00:00:00+00:00")


def page_of(*rows) -> str:
    return render_page(rows, columns_for("voxels"), None, FACTS)


def test_the_page_needs_nothing_else_and_says_what_it_is_not_for() -> None:
    page = page_of(example_row())
    assert "Research use only" in page
    assert not re.search(r"<script|<link|https?://|src=\"(?!data:)", page)


def test_names_are_escaped() -> None:
    page = page_of(example_row(run="runs/<b>"))
    assert "&lt;b&gt;" in page
    assert "A &lt;note&gt;." in page
    assert "left &lt;kidney&gt;" in page


def test_every_row_is_in_the_table_and_in_the_three_plots() -> None:
    rows = [example_row(), example_row(step="1 quantize", test=example_scores(0.69), macs=20_000_000)]
    assert [len(plot.points) for plot in plots_of(rows)] == [2, 2, 2]
    assert "1 quantize" in page_of(*rows)


def test_points_of_others_are_in_the_plots_whose_values_they_give() -> None:
    rows = [example_row(), example_row(step="1 quantize", test=example_scores(0.69), macs=20_000_000)]
    latency, macs, size = plots_of(rows, PAPER)
    assert [len(plot.points) for plot in (latency, macs, size)] == [2, 5, 5]  # the paper has no latency here
    assert {point.label for point in macs.points} == {"1", "2", "paper 224", "paper 128", "paper 64"}
    assert [point.x for point in macs.points if point.label == "paper 128"] == [1670]
    other = ComparedPoint(name="U-Net", dice=0.6, parameters=2e6, latency_ms=30)
    latency, _, _, parameters = plots_of(rows, [other])
    assert [(point.x, point.y) for point in latency.points if point.label == "U-Net"] == [(30, 0.6)]
    assert [point.x for point in parameters.points] == [0.33, 0.33, 2]


def test_the_page_says_what_diamonds_are_where_there_are_any() -> None:
    facts = {"columns": columns_for("voxels"), "panel": None, "facts": FACTS}
    assert "Diamonds" not in page_of(example_row())
    assert "Diamonds" in render_page([example_row()], **facts, plots=plots_of([example_row()], PAPER))


def test_zero_weights_are_drawn_against_the_papers_losses() -> None:
    row = example_row(step="1 prune_weights", nonzero_parameters=165_000, original_dice=0.75)
    *_, pruning = plots_of([row], PAPER)
    (ours,) = [point for point in pruning.points if point.series is not None]
    assert (round(ours.x), round(ours.y, 1)) == (50, -5.0)
    assert [(point.x, point.y) for point in pruning.points if point.series is None] == [(50, -1), (70, -9), (90, -53)]
    assert not pruning.joined


def test_rows_without_test_cases_are_no_points() -> None:
    assert plots_of([example_row(test=None)]) == []
    assert "Accuracy against cost" not in page_of(example_row(test=None))
    assert "Dice by structure" not in page_of(example_row(test=None))


def test_each_run_has_one_colour() -> None:
    rows = [example_row(), example_row(step="1 fold"), example_row(run="runs/b")]
    assert {point.label: point.series for point in plots_of(rows)[0].points} == {"1": 0, "2": 0, "3": 1}
