"""Where the slices of a series lie, and whether they are a volume.

A series whose slices do not lie at even distances, or where one is missing or there twice, is refused: a mask on it
would lie elsewhere than what it marks. A tilted gantry shifts each slice against the one below; the affine holds that
shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError
from embedded_vit.io.limits import check_array_size
from embedded_vit.volume import check_affine

if TYPE_CHECKING:
    from embedded_vit.io.dicom.file import DicomSlice

__all__ = ["place_slices"]

SEPARATE = "give a folder with the slices of one volume"
TOLERANCE = 0.1  # of the distance between slices: how far a slice may lie from its even place
SAME = 1e-3  # rounding: how much the directions (cosines) and pixel spacings (mm) of a series may differ
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def place_slices(slices: Sequence[DicomSlice], source: str) -> tuple[list[DicomSlice], NDArray[np.float64]]:
    """Sort slices along the normal of their plane, and check that they are a volume.

    Args:
        slices: At least one, in any order.
        source: The folder, for messages.

    Returns:
        The slices, sorted; the affine (4, 4) float64, (column, row, slice) -> RAS+ mm.

    Raises:
        FileFormatError: The slices differ in size, type, direction or spacing, lie at uneven distances, one is missing
            or there twice, or they are more than is read.
    """
    first = slices[0]
    check_array_size((*first.shape, len(slices)), first.dtype.itemsize, source)
    if any(piece.shape != first.shape or piece.dtype != first.dtype for piece in slices):
        raise FileFormatError(f"{source}: the slices of the series are not all of one size and type; {SEPARATE}")
    plane = [np.array([*piece.directions.ravel(), *piece.spacing_mm]) for piece in slices]
    if np.abs(np.array(plane) - plane[0]).max() > SAME:
        raise FileFormatError(f"{source}: the slices of the series differ in direction or spacing; {SEPARATE}")
    ordered, step = _ordered(slices, source)
    affine = _affine(ordered[0], step)
    check_affine(affine, source, (first.shape[1], first.shape[0], len(slices)))
    return ordered, affine


def _ordered(slices: Sequence[DicomSlice], source: str) -> tuple[list[DicomSlice], NDArray[np.float64]]:
    """Sort slices along the normal of their plane; also return the step from each to the next, (3,) LPS+ mm.

    Raises:
        FileFormatError: They do not lie at even distances; the only one has no thickness.
    """
    across, down = slices[0].directions
    normal = np.cross(across, down)
    positions = np.array([piece.position for piece in slices])
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [slices[index] for index in order]
    if len(slices) == 1:
        thickness_mm = slices[0].thickness_mm or 0.0
        if thickness_mm <= 0:
            raise FileFormatError(f"{source}: a single slice without a SliceThickness; give the whole series")
        return ordered, normal * thickness_mm
    positions = positions[order]
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    _check_even(positions, positions @ normal, step, source)
    return ordered, step


def _check_even(
    positions: NDArray[np.float64], heights_mm: NDArray[np.float64], step: NDArray[np.float64], source: str
) -> None:
    """Refuse slices at other places than first + index * step, and say what is wrong with them.

    Args:
        positions: (slices, 3), sorted.
        heights_mm: (slices,) along the normal.
        step: (3,).
        source: For messages.
    """
    gaps_mm = np.diff(heights_mm)
    usual_mm = float(np.quantile(gaps_mm, 0.5, method="lower"))  # of two gaps, one twice as wide, the narrow one
    if gaps_mm.min() <= TOLERANCE * usual_mm:
        raise FileFormatError(
            f"{source}: several slices of the series lie at the same place: copies, or more than one volume (phases, "
            f"echoes); {SEPARATE}"
        )
    strayed_mm = np.linalg.norm(positions - positions[0] - np.arange(len(positions))[:, None] * step, axis=1)
    if strayed_mm.max() <= TOLERANCE * np.linalg.norm(step):
        return
    missing = np.rint(gaps_mm / usual_mm) - 1
    if missing.any() and np.abs(gaps_mm / usual_mm - missing - 1).max() <= TOLERANCE:
        raise FileFormatError(
            f"{source}: slices missing between the first and the last: {missing.sum():.0f}; copy the series again"
        )
    raise FileFormatError(
        f"{source}: the slices lie {gaps_mm.min():.3g} to {gaps_mm.max():.3g} mm apart and up to "
        f"{strayed_mm.max():.3g} mm beside an even row; resample the series to one distance"
    )


def _affine(first: DicomSlice, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine (4, 4), (column, row, slice) -> RAS+ mm."""
    row_mm, column_mm = first.spacing_mm  # from row to row is along a column
    across, down = first.directions
    affine = np.eye(4)
    affine[:3] = np.stack([across * column_mm, down * row_mm, step, first.position], axis=1)
    affine[:3] *= LPS_TO_RAS[:, None]
    return affine
