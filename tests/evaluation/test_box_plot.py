from __future__ import annotations

import numpy as np
import pytest

from embedded_vit.evaluation.box_plot import box_plot


def plot_of(values: list[list[float]], **options):
    table = np.array(values)
    names = tuple(f"organ {index}" for index in range(table.shape[1]))
    colours = ("#123456",) * len(names)
    return box_plot("Dice", table, names, colours, tuple(f"case {row}" for row in range(len(table))), **options)


def value_at(plot, x: float) -> float:
    (first, low), (last, high) = plot.ticks[0], plot.ticks[-1]
    return float(low) + (x - first) / (last - first) * (float(high) - float(low))


def test_boxes_lie_at_the_quartiles() -> None:
    plot = plot_of([[0.1], [0.2], [0.3], [0.4], [0.5]], highest=1.0)
    (box,) = plot.boxes
    places = (box.whisker_low, box.quartile_low, box.median, box.quartile_high, box.whisker_high)
    assert [value_at(plot, x) for x in places] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert [value_at(plot, dot.x) for dot in box.dots] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_an_outlier_is_a_dot_beyond_the_whisker() -> None:
    (box,) = plot_of([[0.80], [0.82], [0.84], [0.86], [0.1]], highest=1.0).boxes
    assert min(dot.x for dot in box.dots) < box.whisker_low


def test_every_value_lies_on_the_scale() -> None:
    plot = plot_of([[3.0, 487.3], [12.0, 1.0]])
    assert all(plot.ticks[0][0] <= dot.x <= plot.ticks[-1][0] for box in plot.boxes for dot in box.dots)
    assert [text for _, text in plot.ticks] == ["0", "100", "200", "300", "400", "500"]


def test_excluded_values_are_not_drawn() -> None:
    plot = plot_of([[0.5, np.nan], [np.nan, np.nan]], highest=1.0)
    assert [(box.name, len(box.dots)) for box in plot.boxes] == [("organ 0", 1)]
    assert plot.boxes[0].dots[0].title == "case 0: 0.500"


def test_values_that_are_all_zero_have_a_scale() -> None:
    assert len(plot_of([[0.0], [0.0]]).ticks) >= 2
