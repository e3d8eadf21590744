"""The part of a scan's slices that a network looks at: all of a slice, the body, or what is not zero.

A network sees S x S pixels whatever they cover, so that what need not be seen is resolution lost. The part is one box
of rows and columns for all slices of a scan.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedded_vit.volume import Scan

__all__ = ["WHOLE", "FieldOfView", "Part", "seen_part"]

FieldOfView = Literal["slice", "body", "nonzero"]
Part = tuple[slice, slice]  # rows, columns
WHOLE: Part = (slice(None), slice(None))

BODY_HU = -500.0  # between air and everything else
BODY_SHARE = 0.01  # of a row's voxels in all slices; a table or a tube has fewer


def seen_part(scan: Scan, kind: FieldOfView) -> Part:
    """Return the rows and columns, of all slices, that a network looks at.

    Args:
        scan: In the orientation in which it is cut into slices.
        kind: `slice` for everything; `nonzero` from the first to the last row, and column, with a stored number that is
            not 0; `body` (CT) likewise with more than 1 % of its voxels above -500 HU. Several channels count together.

    Returns:
        Two slices with start and stop; the whole where nothing is found.
    """
    slices, rows, columns = scan.shape
    if kind == "slice":
        return slice(0, rows), slice(0, columns)
    along_rows, along_columns = np.zeros(rows, np.int64), np.zeros(columns, np.int64)
    threshold = (BODY_HU - scan.intercept) / scan.slope  # in stored numbers
    for index in range(slices):
        stored = scan.stored(index)  # (channels, rows, columns)
        if kind == "nonzero":
            inside = (stored != 0).any(axis=0)
        else:
            inside = (stored > threshold if scan.slope > 0 else stored < threshold).any(axis=0)
        along_rows += np.count_nonzero(inside, axis=1)
        along_columns += np.count_nonzero(inside, axis=0)
    share = BODY_SHARE * slices if kind == "body" else 0.0
    return _ends(along_rows > share * columns), _ends(along_columns > share * rows)


def _ends(found: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(found)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(0, len(found))
