"""Tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["in_columns", "padded"]


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
    """Return the cells padded with spaces to the widest of their column; arguments as `in_columns`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = len(widths) if left is None else left
    return [
        [
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
