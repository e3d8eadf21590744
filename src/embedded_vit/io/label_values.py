"""Labels from the numbers of a stored mask: integers from 0 to 255, of any dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError

__all__ = ["labels_from"]

EXACT, MOST_ROUNDING = 1e-4, 0.1  # how far from an integer a label may be: as stored, and scaled


def labels_from(array: NDArray[Any], source: str, *, slope: float = 1.0, intercept: float = 0.0) -> NDArray[np.uint8]:
    """Convert a stored mask to labels, plane by plane.

    Args:
        array: (..., rows, columns) of any real dtype.
        source: File, for messages.
        slope, intercept: label = stored * slope + intercept. A program that scales labels rounds them to steps of the
            slope.

    Returns:
        The same shape as uint8, in the memory order of `array`.

    Raises:
        FileFormatError: A number is not an integer, or is not in 0 to 255.
    """
    if array.dtype == np.uint8 and (slope, intercept) == (1.0, 0.0):
        return array
    labels = np.empty_like(array, np.uint8)
    tolerance = min(EXACT + abs(slope) / 2, MOST_ROUNDING) if (slope, intercept) != (1.0, 0.0) else EXACT
    slowest = int(np.argmax(np.abs(array.strides)))
    for plane, target in zip(np.moveaxis(array, slowest, 0), np.moveaxis(labels, slowest, 0), strict=True):
        values = plane if (slope, intercept) == (1.0, 0.0) else plane * slope + intercept
        if not np.isfinite(values).all():
            raise FileFormatError(f"{source}: labels are NaN or infinite; integers from 0 to 255 are expected")
        whole = np.rint(values)
        if np.abs(values - whole).max(initial=0) > tolerance:
            wrong = float(values[np.abs(values - whole) > tolerance].flat[0])
            raise FileFormatError(f"{source}: the label {wrong:g} is not an integer; give a mask, not probabilities")
        if whole.min(initial=0) < 0 or whole.max(initial=0) > 255:
            wrong = float(whole.min() if whole.min() < 0 else whole.max())
            raise FileFormatError(f"{source}: the label {wrong:g} is outside 0 to 255")
        target[...] = whole
    return labels
