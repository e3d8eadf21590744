"""The map from requirements to tests: every test that it names exists, and every requirement has one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "quality.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Requirement")]


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of the test functions of a file; none where it is not there."""
    file = REPOSITORY / path
    if not file.is_file():
        return frozenset()
    return frozenset(node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_every_requirement_names_tests_that_exist(row: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in names_in(path)] == []


def test_the_page_has_requirements() -> None:
    assert len(ROWS) > 40
