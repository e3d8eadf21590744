"""What the documents promise of the program: commands that exist, paths that exist, a README of one screen a reader."""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

from embedded_vit.cli.application import GROUPS, application
from embedded_vit.compression.plan import built_in_plans

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
DOCUMENTS = [
    README,
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "paper" / "README.md",
    REPOSITORY / "benchmarks" / "README.md",
    REPOSITORY / "deploy" / "README.md",
    REPOSITORY / "integrations" / "slicer" / "README.md",
    *sorted(path for path in (REPOSITORY / "docs").rglob("*.md") if "log" not in path.parts),
]
TOP_FOLDERS = ("src", "docs", "tests", "benchmarks", "factory", "paper")
COLUMNS = 100
VERBS = {verb for verbs in GROUPS.values() for verb in verbs}


def name_of(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)


def lines(document: Path) -> list[str]:
    return document.read_text(encoding="utf-8").splitlines()


def commands(text: str) -> Iterator[list[str]]:
    """Return every `embedded-vit VERB ...` of a document, in code blocks and in sentences, as words."""
    joined = text.replace("\\\n", " ")
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", joined)
    shell = [line.split("#")[0] for block in blocks for line in block.splitlines()]
    sentences = re.findall(r"`([^`]+)`", re.sub(r"(?ms)^```.*?^```", "", joined))
    for command in [*shell, *(" ".join(code.split()) for code in sentences)]:
        for match in re.finditer(r"embedded-vit ([a-z].*)|embedded_vit (train .*)", command):
            yield (match[1] or match[2]).split()


@cache
def help_of(verb: str) -> str:
    console = Console(width=200, file=io.StringIO())
    application().help_print([verb], console=console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_readme_fits_its_measure() -> None:
    assert len(lines(README)) <= 120
    assert max(map(len, lines(README))) <= COLUMNS


@every_document
def test_tables_have_at_most_six_columns(document: Path) -> None:
    most = 5 if document == README else 6
    for line in lines(document):
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") <= most + 1, line


@every_document
def test_prose_wraps(document: Path) -> None:
    if document.parent.name == "models" and document.name != "README.md":
        return  # cards are made by a program that knows no columns
    code = False
    for line in lines(document):
        code ^= line.lstrip().startswith("```")
        shown = re.sub(r"\]\([^)]*\)", "]", line)  # without the addresses of links
        assert code or line.startswith(("|", "```")) or len(shown) <= COLUMNS, line


@every_document
def test_no_commit_and_no_machinery_in_prose(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert not re.search(r"\bcommits? [0-9a-f]{7}\b|\blent\b", text)


@every_document
def test_commands_name_verbs_and_options_that_exist(document: Path) -> None:
    for verb, *words in commands(document.read_text(encoding="utf-8")):
        assert verb in VERBS, f"embedded-vit {verb}"
        for option in (word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", help_of(verb)), f"embedded-vit {verb} {option}"


@every_document
def test_options_of_scripts_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for script, words in re.findall(r"python ((?:benchmarks|factory|paper)/\w+\.py)([^`\n]*(?:\n[^`\n]+)?)`", text):
        source = (REPOSITORY / script).read_text(encoding="utf-8")
        for option in re.findall(r"(?<!\S)--[a-z-]+", words):
            assert f'"{option}"' in source, f"{script} {option}"


def test_every_built_in_plan_is_described() -> None:
    page = (REPOSITORY / "docs" / "compression.md").read_text(encoding="utf-8")
    assert [name for name in built_in_plans() if f"`{name}`" not in page] == []


@every_document
def test_paths_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for path in re.findall(rf"(?<![\w./-])(?:{'|'.join(TOP_FOLDERS)})/[\w./-]*\w", text):
        assert (REPOSITORY / path).exists() or (document.parent / path).exists(), path
    for address in re.findall(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)", text):
        assert (document.parent / address).exists(), address


@every_document
def test_modules_that_are_named_exist(document: Path) -> None:
    names = set(re.findall(r"`(embedded_vit(?:\.[a-z_0-9]+)+)", document.read_text(encoding="utf-8")))
    for name in names - {"embedded_vit.manifest", "embedded_vit.manifest_sha256"}:  # keys of an artifact's metadata
        parent, _, last = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(parent), last), name
