"""The experiment log: every entry has a verdict, a date and a footnote, and the index links to each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LOG = Path(__file__).parents[1] / "docs" / "log"
PAGES = sorted(page for page in LOG.glob("*.md") if page.name != "README.md")
MOST_COLUMNS = 6
DATE = r"\d{4}-\d{2}-\d{2}"


def entries(page: Path) -> list[tuple[str, str]]:
    """Return heading and body of each entry of a page, in the order of the page."""
    parts = re.split(r"(?m)^## (.*)$", page.read_text(encoding="utf-8"))
    return list(zip(parts[1::2], parts[2::2], strict=True))


def anchor(heading: str) -> str:
    """Return the heading's anchor on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_the_index_links_to_every_entry_once_and_to_nothing_else() -> None:
    index = (LOG / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"(?m)^- \[.*?\]\(([\w-]+\.md#[^)]*)\):", index)
    written = [f"{page.name}#{anchor(heading)}" for page in PAGES for heading, _ in entries(page)]
    assert sorted(linked) == sorted(written)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_an_entry_has_an_idea_a_verdict_a_date_and_a_footnote(page: Path) -> None:
    for heading, body in entries(page):
        assert re.fullmatch(r".+?: .+", heading), heading
        assert re.match(rf"\n\n\*{DATE}( (to|and) {DATE})?\*", body), heading
        footnotes = set(re.findall(r"(?m)^\[\^([\w-]+)\]:", body))
        assert footnotes, heading
        assert footnotes == set(re.findall(r"\[\^([\w-]+)\](?!:)", body)), heading


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_entries_of_a_page_stand_newest_first(page: Path) -> None:
    dates = [re.findall(DATE, body.split("\n")[2])[-1] for _, body in entries(page)]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_anchors_are_the_same_on_github_and_on_the_site(page: Path) -> None:
    for heading, _ in entries(page):
        assert heading.isascii(), heading
        assert "--" not in anchor(heading), heading


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_have_at_most_six_columns(page: Path) -> None:
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") <= MOST_COLUMNS + 1, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commits_are_named_in_footnotes_only(page: Path) -> None:
    blocks = re.split(r"\n\s*\n", page.read_text(encoding="utf-8"))
    for block in blocks:
        if not block.startswith("[^"):
            assert not re.search(r"\bcommits? [0-9a-f]{7}\b", block), block
