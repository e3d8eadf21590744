"""Columns of a table."""

from __future__ import annotations

from embedded_vit.columns import in_columns, padded

ROWS = [("name", "Dice"), ("gallbladder", "0.5"), ("liver", "-")]


def test_text_is_aligned_to_the_left_and_numbers_to_the_right() -> None:
    assert in_columns(ROWS, left=1) == ["name         Dice", "gallbladder   0.5", "liver           -"]


def test_without_numbers_all_is_aligned_to_the_left_and_lines_end_without_spaces() -> None:
    assert in_columns(ROWS) == ["name         Dice", "gallbladder  0.5", "liver        -"]
    assert padded(ROWS)[2] == ["liver      ", "-   "]
