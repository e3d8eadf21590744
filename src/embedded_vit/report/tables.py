"""The rows of a report as text: the columns of the page and of Markdown, and CSV with plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.columns import csv_text
from embedded_vit.evaluation.scores import Scores
from embedded_vit.printable import printable_text
from embedded_vit.report.rows import ReportRow

__all__ = ["Column", "columns_for", "markdown_table", "rows_csv"]

NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """A column: its title, the value of a row, and the small print below the value ("" for none)."""

    title: str
    value: Callable[[ReportRow], str]
    detail: Callable[[ReportRow], str] = lambda row: ""


def columns_for(unit: str) -> tuple[Column, ...]:
    """Return the columns of the figures.

    Args:
        unit: The unit of HD95.
    """
    return (
        Column("Dice", lambda row: _score(row, "dice", 3), _interval),
        Column("Jaccard", lambda row: _score(row, "jaccard", 3)),
        Column(f"HD95 ({unit})", lambda row: _score(row, "hd95", 1)),
        Column("NSD", lambda row: _score(row, "nsd", 3)),
        Column("Epochs", lambda row: f"{row.epochs}", _epochs_of_step),
        Column("Parameters", lambda row: _millions(row.measured.parameters), _nonzero),
        Column("MACs", lambda row: _macs(row.measured.macs)),
        Column("File", lambda row: _megabytes(row.measured.file_bytes), _compressed),
        Column("p50, 1 thread", lambda row: _milliseconds(row, "1"), lambda row: _against_before(row, "1")),
        Column("p50, 2 threads", lambda row: _milliseconds(row, "2"), lambda row: _against_before(row, "2")),
        Column("Peak memory", lambda row: f"{row.measured.peak_memory_mib:.0f} MiB"),
    )


def markdown_table(rows: Sequence[ReportRow], columns: Sequence[Column], notes: Sequence[str]) -> str:
    """Return the rows as a Markdown page with notes."""
    lines = ["# Runs and compression steps", "", f"**{RESEARCH_USE_ONLY}**", ""]
    lines += [f"| # | run | {' | '.join(column.title for column in columns)} |", "|---|---|" + "---|" * len(columns)]
    for number, row in enumerate(rows, 1):
        cells = [" ".join(filter(None, (column.value(row), _bracketed(column.detail(row))))) for column in columns]
        lines.append(f"| {number} | {' | '.join([_in_markdown(row.name), *cells])} |")
    return printable_text([*lines, "", *(f"- {note}" for note in notes), ""])


def rows_csv(rows: Sequence[ReportRow]) -> str:
    """Return the rows as CSV; a figure that is not known is empty."""
    records = [_plain(row) for row in rows]
    return csv_text(list(dict.fromkeys(name for record in records for name in record)), records)


def _plain(row: ReportRow) -> dict[str, str | float | int | None]:
    measured, test = row.measured, row.measured.test
    low, high = (test.dice_interval if test else None) or (None, None)
    return {
        "run": row.run.name,
        "step": row.step,
        "test_cases": test.cases if test else 0,
        "dice": test.dice if test else None,
        "dice_low_95": low,
        "dice_high_95": high,
        "jaccard": test.jaccard if test else None,
        "hd95": test.hd95 if test else None,
        "hd95_unit": test.unit if test else None,
        "nsd": test.nsd if test else None,
        "validation_dice": measured.validation.dice if measured.validation else None,
        "epochs": row.epochs,
        "step_epochs": row.step_epochs,
        "parameters": measured.parameters,
        "nonzero_parameters": measured.nonzero_parameters,
        "macs": measured.macs,
        "file_bytes": measured.file_bytes,
        "deflated_bytes": measured.deflated_bytes,
        "p50_ms_1_thread": row.latency_ms.get("1"),
        "p50_ms_2_threads": row.latency_ms.get("2"),
        "p50_ratio_to_before_1_thread": measured.latency_ratio("1"),
        "p50_ratio_to_before_2_threads": measured.latency_ratio("2"),
        "peak_memory_mib": measured.peak_memory_mib,
        **{f"dice_{organ.replace(' ', '_')}": value for organ, value in (test.organs if test else {}).items()},
    }


def _in_markdown(name: str) -> str:
    """Escape what would end a cell or begin a tag."""
    return name.replace("|", "\\|").replace("<", "&lt;")


def _score(row: ReportRow, metric: str, decimals: int) -> str:
    value = getattr(row.measured.test, metric) if row.measured.test else None
    return NOTHING if value is None else f"{value:.{decimals}f}"


def _interval(row: ReportRow) -> str:
    scores: Scores | None = row.measured.test
    return "" if scores is None or scores.dice_interval is None else "{:.3f} – {:.3f}".format(*scores.dice_interval)


def _epochs_of_step(row: ReportRow) -> str:
    return f"{row.step_epochs} in this step" if row.step_epochs else ""


def _nonzero(row: ReportRow) -> str:
    return f"{_millions(row.measured.nonzero_parameters)} not zero" if row.has_zeros else ""


def _compressed(row: ReportRow) -> str:
    return f"{_megabytes(row.measured.deflated_bytes)} zipped"


def _milliseconds(row: ReportRow, threads: str) -> str:
    value = row.latency_ms.get(threads)
    return NOTHING if value is None else f"{value:.1f} ms"


def _against_before(row: ReportRow, threads: str) -> str:
    ratio = row.measured.latency_ratio(threads)
    return "" if ratio is None else f"{ratio:.2f} of the step before"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"


def _macs(macs: int) -> str:
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.0f} M"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""
