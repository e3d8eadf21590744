from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.errors import CheckpointError, FileFormatError
from embedded_vit.io import json_file
from embedded_vit.io.json_file import read_json_object


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"name": "Käse", "number": 1}', encoding="utf-8")
    assert read_json_object(tmp_path / "a.json", FileFormatError) == {"name": "Käse", "number": 1}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not valid JSON"),
        (b'{"a": ', "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1, 2]", "expected a JSON object, got list"),
        (b"null", "expected a JSON object, got NoneType"),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\.json: {problem}.*; train again$") as caught:
        read_json_object(path, CheckpointError, hint="train again")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"nothing\.json: missing"):
        read_json_object(tmp_path / "nothing.json", FileFormatError)
    with pytest.raises(FileFormatError, match="cannot read it"):
        read_json_object(tmp_path, FileFormatError)


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "MOST_BYTES", 10)
    (tmp_path / "a.json").write_text('{"a": "bcdefgh"}')
    with pytest.raises(FileFormatError, match="16 bytes, expected a JSON object of at most 10"):
        read_json_object(tmp_path / "a.json", FileFormatError)
