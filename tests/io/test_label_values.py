"""Numbers of a mask become labels, or are refused."""

from __future__ import annotations

import numpy as np
import pytest

from embedded_vit.errors import FileFormatError
from embedded_vit.io.label_values import labels_from


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int64", "float32", "float64", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_integers_of_any_type_become_uint8(dtype: str, order: str) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4) % 9, dtype=dtype, order=order)
    labels = labels_from(array, "mask")
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, array)
    assert labels.flags["F_CONTIGUOUS"] == (order == "F")


def test_slope_and_intercept_are_applied() -> None:
    np.testing.assert_array_equal(
        labels_from(np.array([[0, 4], [6, 16]]), "mask", slope=0.5, intercept=1), [[1, 3], [4, 9]]
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, "0.5 is not an integer"),
        (-1.0, "-1 is outside"),
        (256.0, "256 is outside"),
        (np.nan, "NaN"),
        (np.inf, "inf"),
    ],
)
def test_what_is_no_label_is_refused_by_name(value: float, message: str) -> None:
    array = np.zeros((2, 3, 4))
    array[1, 2, 3] = value
    with pytest.raises(FileFormatError, match=f"mask.nii: .*{message}"):
        labels_from(array, "mask.nii")


@pytest.mark.parametrize(("dtype", "highest"), [("uint8", 8), ("int16", 24), ("uint16", 24), ("uint8", 25)])
def test_labels_that_a_program_scaled_to_all_stored_numbers_are_read_back(dtype: str, highest: int) -> None:
    """As nibabel writes floating point labels under a header of integers: 1 becomes 1.00392."""
    labels = np.arange(highest + 1).repeat(12).reshape(-1, 3, 4)
    limits = np.iinfo(dtype)
    slope = highest / (int(limits.max) - int(limits.min))
    stored = np.rint(labels / slope + int(limits.min)).astype(dtype)
    read = labels_from(stored, "mask.nii.gz", slope=slope, intercept=-int(limits.min) * slope)
    np.testing.assert_array_equal(read, labels)


def test_scaled_probabilities_are_no_labels() -> None:
    with pytest.raises(FileFormatError, match="not an integer; give a mask, not probabilities"):
        labels_from(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), "mask.nii.gz", slope=1 / 255, intercept=0.0)
