from __future__ import annotations

import re

from example_rows import example_row, example_scores

from embedded_vit.report.page import PageFacts, plots_of, render_page
from embedded_vit.report.tables import columns_for

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
    latency, operations, size = plots_of(rows)
    assert [len(plot.marks) for plot in (latency, operations, size)] == [2, 5, 5]  # the paper has no latency here
    assert {mark.point.label for mark in operations.marks} == {"1", "2", "paper 224", "paper 128", "paper 64"}
    assert "1 quantize" in page_of(*rows)


def test_zero_weights_are_drawn_against_the_papers_losses() -> None:
    row = example_row(step="1 prune_weights", nonzero_parameters=165_000, original_dice=0.75)
    *_, pruning = plots_of([row])
    (ours,) = [mark.point for mark in pruning.marks if mark.point.series is not None]
    assert (round(ours.x), round(ours.y, 1)) == (50, -5.0)
    papers = [(mark.point.label, mark.point.x, mark.point.y) for mark in pruning.marks if mark.point.series is None]
    assert papers == [("paper", 50, -1), ("paper", 70, -9), ("paper", 90, -53)]


def test_rows_without_test_cases_are_no_points() -> None:
    assert plots_of([example_row(test=None)]) == []
    assert "What is the best for its cost" not in page_of(example_row(test=None))
    assert "Dice by structure" not in page_of(example_row(test=None))


def test_each_run_has_one_colour() -> None:
    rows = [example_row(), example_row(step="1 fold"), example_row(run="runs/b")]
    assert {mark.point.label: mark.point.series for mark in plots_of(rows)[0].marks} == {"1": 0, "2": 0, "3": 1}
