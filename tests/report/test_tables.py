from __future__ import annotations

import csv
import io

from example_rows import example_row

from embedded_vit.report.tables import columns_for, markdown_table, rows_csv

PRUNED = {"nonzero_parameters": 165_000, "previous_latency_ms": {"1": 18.0, "2": 7.0}, "original_dice": 0.75}


def test_markdown_has_a_row_for_every_step_with_what_it_cost() -> None:
    rows = [example_row(step="original", epochs=8), example_row(step="1 prune_weights", **PRUNED)]
    page = markdown_table(rows, columns_for("voxels"), ["A note."])
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "| 1 | a · original | 0.700 (0.600 – 0.800) | 0.600 | 12.3 | 0.500 | 8 | 0.33 M | 46 M |" in page
    assert "0.17 M not zero" in page or "0.16 M not zero" in page
    assert "8.0 ms (0.50 of the step before)" in page
    assert "HD95 (voxels)" in page
    assert "- A note." in page
    assert "Research use only" in page


def test_csv_holds_plain_numbers_and_leaves_open_what_is_not_known() -> None:
    rows = [example_row(), example_row(step="1 quantize", test=None), example_row(step="2 prune_weights", **PRUNED)]
    trained, unscored, pruned = csv.DictReader(io.StringIO(rows_csv(rows)))
    assert float(trained["dice"]) == 0.7
    assert float(trained["p50_ms_1_thread"]) == 8.0
    assert trained["dice_liver"] == "0.9"
    assert (unscored["dice"], unscored["dice_liver"], unscored["test_cases"]) == ("", "", "0")
    assert float(pruned["p50_ratio_to_before_1_thread"]) == 0.5
    assert pruned["nonzero_parameters"] == "165000"


def test_a_row_without_test_cases_shows_dashes() -> None:
    cells = [column.value(example_row(test=None)) for column in columns_for("mm")]
    assert cells[:4] == ["–", "–", "–", "–"]
