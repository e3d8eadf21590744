"""Names that a terminal would obey are shown escaped."""

from __future__ import annotations

import pytest

from embedded_vit.printable import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("case_01.nii.gz", "case_01.nii.gz"),
        ("Größe 肝 é", "Größe 肝 é"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("bytes \udcff", r"bytes \udcff"),
        ("\u2028\U000e0041", r"\u2028\U000e0041"),
    ],
)
def test_controls_are_escaped_and_words_stay(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(name).isprintable()
