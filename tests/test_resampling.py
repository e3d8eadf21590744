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


def test_what_reaches_what():
    resampling = Resampling(bilinear_matrix(8, 32))
    pixels = np.zeros(8, bool)
    assert resampling.reached(pixels) == slice(0, 0)
    pixels[[3, 4]] = True
    reached = resampling.reached(pixels)
    assert not resampling.matrix[: reached.start, pixels].any()
    assert not resampling.matrix[reached.stop :, pixels].any()
    assert resampling.matrix[reached.start, pixels].any()
    assert resampling.sources(reached) == slice(2, 6)


def test_a_part_of_a_slice_is_enlarged_as_the_whole():
    grid = Grid.between((100, 90), 16)
    logits = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    rows, columns = slice(20, 61), slice(0, 33)
    np.testing.assert_allclose(grid.enlarge_part(logits, rows, columns), grid.enlarge(logits)[rows, columns], atol=1e-6)
