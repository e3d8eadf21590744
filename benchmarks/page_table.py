"""The table between two marks of a page, which a script replaces."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

__all__ = ["replace_table"]


def replace_table(page: Path, name: str, lines: Sequence[str], foot: str) -> None:
    """Put a table, and a line on how it was made, between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    Args:
        page: A page in Markdown.
        name: Of the table, as its marks have it.
        lines: The head and the rows.
        foot: What is written below the table, in one line; it is wrapped.

    Raises:
        ValueError: The page lacks the marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no marks {begin} and {end}")
    text = "\n".join([begin, *lines, "", textwrap.fill(foot, 98), end])
    page.write_text(f"{before}{text}{after}", encoding="utf-8")
