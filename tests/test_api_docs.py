"""docs/api.md: its examples run as they stand, and its table lists what the packages export."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import embedded_vit

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "api.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
PACKAGES = sorted(path.parent.name for path in Path(embedded_vit.__file__).parent.glob("*/__init__.py"))


@pytest.mark.slow
def test_the_examples_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for match in re.finditer(r"(?ms)^```python\n(.*?)^```", TEXT):
        line = TEXT.count("\n", 0, match.start(1))  # so that a traceback names the line of the document
        exec(compile("\n" * line + match[1], str(DOCUMENT), "exec"), names)
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize("package", [package for package in PACKAGES if package != "cli"])
def test_the_table_lists_what_a_package_exports(package: str) -> None:
    row = re.search(rf"(?m)^\| `embedded_vit\.{package}` \| (.*) \|$", TEXT)
    exports = getattr(importlib.import_module(f"embedded_vit.{package}"), "__all__", [])
    assert (row is not None) == bool(exports)
    assert row is None or re.findall(r"`(\w+)`", row[1]) == list(exports)


def test_every_export_with_a_verb_is_shown_in_an_example() -> None:
    examples = "\n".join(re.findall(r"(?ms)^```python\n(.*?)^```", TEXT))
    for verb in ("train", "evaluate", "compress", "export", "search", "benchmark", "predict", "load", "open_data_set"):
        assert re.search(rf"\b{verb}\(", examples), verb
