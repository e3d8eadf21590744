"""Counts in sentences: 1 mask, 2 masks."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number and what is counted, in the form that goes with it.

    Args:
        count: How many.
        one: What is counted, of one: "mask", or with its verb "mask is".
        many: Of none or several: "masks are"; with an s at the end by default.
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"
