"""Resampling: the blocks of a matrix give what the whole gives."""

from __future__ import annotations

import numpy as np
import pytest

from embedded_vit.preprocessing import Grid
from embedded_vit.resampling import Resampling, antialias_matrix, bilinear_matrix, cubic_matrix

MATRICES = {
    "reducing": antialias_matrix(512, 64),
    "by no whole number": antialias_matrix(333, 128),
    "enlarging": bilinear_matrix(24, 300),
    "spline, no band": cubic_matrix(96, 40),
    "with air beside": Grid.between((64, 200), 32).reduce_rows.matrix,  # whole rows see nothing of the slice
    "fewer rows than blocks": antialias_matrix(16, 3),
}


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_blocks_give_what_the_whole_matrix_gives(matrix):
    image = np.random.default_rng(0).normal(size=(2, matrix.shape[1], 50)).astype(np.float32)
    resized = Resampling(matrix).along_rows(image)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, matrix @ image, atol=1e-5)
    columns = Resampling(matrix).along_columns(image.swapaxes(1, 2))
    np.testing.assert_allclose(columns, resized.swapaxes(1, 2), atol=1e-5)


@pytest.mark.parametrize(("source", "target"), [(8, 32), (24, 300), (192, 512), (64, 40), (16, 16), (8, 1)])
def test_cells_are_the_matrix_of_a_linear_interpolation(source, target):
    resampling = Resampling(bilinear_matrix(source, target))
    cells = resampling.cells
    matrix = np.zeros((target, source), np.float32)
    matrix[cells.targets, cells.first] = 1 - cells.weights
    matrix[cells.targets, cells.second] += np.where(cells.second > cells.first, cells.weights, 0)
    np.testing.assert_allclose(matrix, resampling.matrix, atol=1e-6)
    assert (cells.targets == np.arange(target)[:, None, None]).any(axis=1)[np.arange(target), cells.of_target].all()
