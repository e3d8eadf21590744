from __future__ import annotations

from pathlib import Path

import pytest

from embedded_vit.errors import FileFormatError
from embedded_vit.report.compared_points import ComparedPoint, read_compared_points


def points_in(folder: Path, text: str, encoding: str = "utf-8") -> list[ComparedPoint]:
    path = folder / "points.csv"
    path.write_text(text, encoding=encoding)
    return read_compared_points(path)


def test_empty_cells_are_not_known(tmp_path: Path) -> None:
    first, second = points_in(tmp_path, 'name,dice,macs,latency_ms\nU-Net,0.71,4.2e9,\n"nnU-Net, 2D",0.8,,120\n')
    assert first == ComparedPoint(name="U-Net", dice=0.71, macs=4.2e9)
    assert second == ComparedPoint(name="nnU-Net, 2D", dice=0.8, latency_ms=120)


def test_a_spreadsheet_may_mark_the_byte_order_and_write_spaces(tmp_path: Path) -> None:
    (point,) = points_in(tmp_path, "name,dice, parameters\r\nU-Net, 0.5, 1000000\r\n", encoding="utf-8-sig")
    assert (point.dice, point.parameters) == (0.5, 1e6)


def test_zero_weights_and_what_they_cost_are_a_point_too(tmp_path: Path) -> None:
    (point,) = points_in(tmp_path, "name,zero_weights,dice_change\npruned,0.5,-0.01\n")
    assert (point.zero_weights, point.dice_change, point.dice) == (0.5, -0.01, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,dice,mac\na,0.5,1\n", r"points\.csv: unknown column 'mac' \(did you mean 'macs'\?\)"),
        ("name;dice;macs\na;0.5;1\n", "unknown column 'name;dice;macs'"),
        ("dice,macs\n0.5,1\n", "must name each column once, 'name' among them; got 'dice,macs'"),
        ("name,dice,dice\na,0.5,0.5\n", "must name each column once"),
        ("name,dice,macs\n", "expected a line for each point below the header, got none"),
        ("", "must name each column once"),
        ("name,dice,macs\na,79.7,26e9\n", "line 2: dice: .*less than or equal to 1.*79.7"),
        ("name,dice,macs\na,0.5,1\nb,0.5,26 G\n", "line 3: macs: .*number.*26 G"),
        ("name,dice,macs\na,0.5,-1\n", "line 2: macs: .*greater than 0"),
        ("name,dice,macs\na,0.5,inf\n", "line 2: macs: .*finite"),
        ("name,dice,macs\na,0.5,\n", "line 2: nothing to draw: expected dice and one of macs, parameters"),
        ("name,dice,macs\n,0.5,1\n", "line 2: name"),
        ("name,dice,macs\na,0.5\n", "line 2: the line has more or fewer cells than the header"),
        ("name,dice,macs\na,0.5,1,2\n", "line 2: the line has more or fewer cells than the header"),
        ('name,dice,macs\n"a,0.5,1\n', "line 2: not CSV"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(FileFormatError, match=problem) as caught:
        points_in(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"nothing\.csv: cannot read it"):
        read_compared_points(tmp_path / "nothing.csv")
    (tmp_path / "points.csv").write_bytes(b"name,dice\n\xff\xfe\n")
    with pytest.raises(FileFormatError, match="cannot read it as text"):
        read_compared_points(tmp_path / "points.csv")


def test_the_papers_points_are_read() -> None:
    points = read_compared_points(Path(__file__).parents[2] / "paper" / "points.csv")
    assert [(point.name, point.dice, point.macs) for point in points if point.dice] == [
        ("paper 224", 0.797, 26e9),
        ("paper 128", 0.755, 1.67e9),
        ("paper 64", 0.655, 0.11e9),
    ]
