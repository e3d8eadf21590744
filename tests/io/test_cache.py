"""What is remembered comes back, and a cache that cannot be used is no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.io.cache import cache_folder, recall, remember


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


def test_values_come_back_by_key() -> None:
    assert recall("engines", "a") is None
    remember("engines", "a", {"latency": 1.5})
    remember("engines", "b", 2)
    remember("engines", "b", 3)
    assert (recall("engines", "a"), recall("engines", "b"), recall("others", "a")) == ({"latency": 1.5}, 3, None)


@pytest.mark.parametrize("content", ["", "[1]", "{", "\udcff"])
def test_a_damaged_file_is_written_anew(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "engines.json").write_bytes(content.encode(errors="surrogateescape"))
    assert recall("engines", "a") is None
    remember("engines", "a", 1)
    assert recall("engines", "a") == 1


def test_a_folder_that_cannot_be_made_is_no_error(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    remember("engines", "a", 1)
    assert recall("engines", "a") is None


def test_without_a_variable_it_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "embedded-vit"
