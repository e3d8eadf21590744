"""A table of a page is replaced between its marks, and nowhere else."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("page_table")


def test_only_what_stands_between_the_marks_is_replaced(tables: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter <!-- b: begin -->\n")
    tables.replace_table(page, "a", ["| head |", "| row |"], "machine")
    assert page.read_text() == (
        "before\n<!-- a: begin -->\n| head |\n| row |\n\nmachine\n<!-- a: end -->\nafter <!-- b: begin -->\n"
    )


@pytest.mark.parametrize("text", ["no marks", "<!-- a: begin -->", "<!-- a: end --> <!-- a: begin -->"])
def test_a_page_without_the_marks_is_refused_and_kept(tables: ModuleType, text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="no marks"):
        tables.replace_table(page, "a", ["| head |"], "machine")
    assert page.read_text() == text
