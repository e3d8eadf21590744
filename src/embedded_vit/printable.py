"""Text of others on a terminal: names of files, labels and cases may hold what a terminal obeys."""

from __future__ import annotations

import unicodedata

__all__ = ["printable"]

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
