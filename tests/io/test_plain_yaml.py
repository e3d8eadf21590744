"""YAML of settings: plain values only, hostile files refused in one line and at once."""

from __future__ import annotations

import time

import pytest

from embedded_vit.errors import ConfigError
from embedded_vit.io.plain_yaml import read_yaml

LAUGHS = "a: &a [1, 2]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_plain_values_are_read(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text("\ufefftext: ä\nnumbers: [1, 2.5, true, null]\nnested: {a: {b: c}}\n", encoding="utf-8")
    assert read_yaml(path) == {"text": "ä", "numbers": [1, 2.5, True, None], "nested": {"a": {"b": "c"}}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (LAUGHS.encode(), "anchors and aliases are not read"),
        (b"a: &name 1\n", "anchors and aliases"),
        (
            b"a: !!python/object/apply:os.system ['touch /tmp/hacked']\n",
            "the tag 'tag:yaml.org,2002:python/object/apply",
        ),
        (b"a: !Name {}\n", "the tag '!Name' is not read"),
        (b"a: !!set {b, c}\n", "is not read"),
        (b"a: 1\na: 2\n", "'a' is given twice"),
        (b"a: {b: 1, b: 2}\n", "line 1: 'b' is given twice"),
        (b"a: {<<: {b: 1}}\n", "merged mappings are not a setting's name"),
        (b"1: a\n", "'1' is not a setting's name"),
        (b"? [a, b]\n: c\n", "is not a setting's name"),
        (b"a: " + b"[" * 30_000, "nested deeper than 16 levels"),
        (b"a: " + b"{b: " * 15_000, "nested deeper than 16 levels"),
        (b"a: " + b"x" * 70_000, "larger than 64 KiB"),
        (b"a: \xff\xfe\n", "not UTF-8"),
        (b"a: \x00\n", "not valid YAML"),
        (b"a: [1, 2\n", "not valid YAML"),
        (b"a: 1\n--- \nb: 2\n", "not valid YAML"),
        (b"a: 2020-99-99\n", "is not a value"),
        (b"a: " + b"1" * 5_000, "is not a value"),
        (b"- a\n- b\n", "expected names and their values"),
        (b"", "expected names and their values"),
        (b"text\n", "expected names and their values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_or_broken_files_are_refused_at_once(content, expected, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert time.process_time() - started < 5
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_yaml(path)
