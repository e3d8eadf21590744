from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from embedded_vit.evaluation.box_plot import box_plot


def plot_of(values: list[list[float]], **options) -> Figure:
    table = np.array(values)
    names = tuple(f"organ {index}" for index in range(table.shape[1]))
    colours = ("#123456",) * len(names)
    return box_plot(table, names, colours, tuple(f"case {row}" for row in range(len(table))), **options)


def dots_of(figure: Figure) -> list[list[float]]:
    """Return the values of the dots, row by row."""
    (axes,) = figure.axes
    return [drawn.get_offsets()[:, 0].tolist() for drawn in axes.collections if isinstance(drawn, PathCollection)]


def lines_of(figure: Figure) -> list[np.ndarray]:
    """Return the two ends of each line, (2, 2) x and y: of a row its whiskers, then its median."""
    (axes,) = figure.axes
    return [drawn.get_segments()[0] for drawn in axes.collections if isinstance(drawn, LineCollection)]


def test_boxes_lie_at_the_quartiles() -> None:
    figure = plot_of([[0.1], [0.2], [0.3], [0.4], [0.5]], highest=1.0)
    (box,) = figure.axes[0].patches
    whiskers, median = lines_of(figure)
    assert whiskers[:, 0] == pytest.approx([0.1, 0.5])
    assert (box.get_x(), box.get_x() + box.get_width()) == pytest.approx((0.2, 0.4))
    assert median[:, 0] == pytest.approx([0.3, 0.3])
    assert dots_of(figure) == [pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])]


def test_an_outlier_is_a_dot_beyond_the_whisker_with_its_name() -> None:
    figure = plot_of([[0.80], [0.82], [0.84], [0.86], [0.1]], highest=1.0)
    whiskers, _ = lines_of(figure)
    assert min(dots_of(figure)[0]) < whiskers[:, 0].min()
    assert [text.get_text() for text in figure.axes[0].texts] == ["case 4"]


def test_the_names_of_two_outliers_do_not_overlap() -> None:
    figure = plot_of([[0.80], [0.81], [0.82], [0.83], [0.84], [0.85], [0.86], [0.31], [0.30]], highest=1.0)
    first, second = (text.get_window_extent() for text in figure.axes[0].texts)
    assert not first.overlaps(second)


def test_every_value_lies_on_the_scale() -> None:
    figure = plot_of([[3.0, 487.3], [12.0, 1.0]])
    (axes,) = figure.axes
    first, last = axes.get_xlim()
    assert all(first <= x <= last for row in dots_of(figure) for x in row)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "100", "200", "300", "400", "500"]


def test_excluded_values_are_not_drawn() -> None:
    figure = plot_of([[0.5, np.nan], [np.nan, np.nan]], highest=1.0)
    assert dots_of(figure) == [[0.5]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["organ 0", "organ 1"]


def test_values_that_are_all_zero_have_a_scale() -> None:
    assert len(plot_of([[0.0], [0.0]]).axes[0].get_xticks()) >= 2


def test_a_name_is_not_read_as_a_formula() -> None:
    figure = box_plot(np.array([[0.5]]), ("$organ_{",), ("#123456",), ("case",))
    figure.canvas.draw()
    assert figure.axes[0].get_yticklabels()[0].get_text() == "$organ_{"
