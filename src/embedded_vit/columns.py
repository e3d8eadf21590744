"""Tables as plain text and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from embedded_vit.printable import printable

__all__ = ["csv_text", "in_columns", "padded"]


def in_columns(rows: Sequence[Sequence[str]], *, left: int | None = None) -> list[str]:
    """Align the cells of a table in columns, for the terminal.

    Args:
        rows: Cells; every row has as many.
        left: How many columns are aligned to the left; those after them, numbers, to the right. None is all.

    Returns:
        One line for each row.
    """
    return ["  ".join(row).rstrip() for row in padded(rows, left=left)]


def padded(rows: Sequence[Sequence[str]], *, left: int | None = None) -> list[list[str]]:
    """Return the cells, printable and padded with spaces to the widest of their column; arguments as `in_columns`."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = len(widths) if left is None else left
    return [
        [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return a table as CSV with a header; control characters in text are escaped, as on the terminal.

    Args:
        columns: The keys of the rows, in the order of the columns.
        rows: Values by column; one that is missing or None is left empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([printable(column) for column in columns])
    for row in rows:
        cells = [row.get(column) for column in columns]
        writer.writerow([printable(cell) if isinstance(cell, str) else cell for cell in cells])
    return text.getvalue()
