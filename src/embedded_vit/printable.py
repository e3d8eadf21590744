"""Text of others on a terminal: names of files, labels and cases may hold what a terminal or a page obeys."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

__all__ = ["bar_text", "printable", "printable_text"]

# Control characters, what turns the direction of writing or is not seen, half a surrogate pair, and private use.
ESCAPED_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: object) -> str:
    """Return a text with everything escaped that a terminal would obey or could not show; a line stays one line."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in ESCAPED_CATEGORIES
        else character
        for character in str(text)
    )


def printable_text(lines: Iterable[object]) -> str:
    """Join lines to a text; each is made printable and stays one line, whatever names it holds."""
    return "\n".join(map(printable, lines))


def bar_text(text: object) -> str:
    """Return a text for a progress bar: printable, and brackets in it are no markup."""
    from rich.markup import escape

    return escape(printable(text))
