"""One mask, two masks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from embedded_vit.counted import counted

SOURCES = Path(__file__).resolve().parents[1] / "src" / "embedded_vit"


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (1, ("mask",), "1 mask"),
        (0, ("mask",), "0 masks"),
        (2, ("mask is", "masks are"), "2 masks are"),
        (1, ("mask is", "masks are"), "1 mask is"),
        (3, ("process", "processes"), "3 processes"),
    ],
)
def test_a_noun_goes_with_its_number(count: int, words: tuple[str, ...], said: str) -> None:
    assert counted(count, *words) == said


def test_nobody_puts_the_letter_there_by_hand() -> None:
    by_hand = re.compile(r"""\{['"](?:s|es)['"] (?:if|\*)|['"](?:is|was)['"] if .* == 1 else""")
    found = [path.name for path in SOURCES.rglob("*.py") if by_hand.search(path.read_text(encoding="utf-8"))]
    assert found == []
