"""The three ways to cut a body into slices: axial, coronal and sagittal.

An orientation code names the directions in which slices, rows and columns grow. In all three, rows and columns run so
that a transposed slice is shown as radiologists look at it: the patient's right, or front, is on the left of the page,
and the head, or the front, is on top.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["AXES", "PLANES", "Axis", "Orientation", "across_slices", "array_axis"]

Orientation = Literal["SLP", "PLI", "LPI"]  # axial, coronal, sagittal
PLANES: dict[Orientation, str] = {"SLP": "axial", "PLI": "coronal", "LPI": "sagittal"}
Axis = Literal["superior", "left", "posterior"]
AXES: tuple[Axis, ...] = ("superior", "left", "posterior")

# Along the axis, against it.
LETTERS: dict[Axis, tuple[str, str]] = {"superior": ("S", "I"), "left": ("L", "R"), "posterior": ("P", "A")}


def array_axis(codes: str, axis: Axis) -> tuple[int, bool]:
    """Return which array axis runs along an axis of the body, and whether it grows in the direction of its name.

    Args:
        codes: For example "SLP".
        axis: The axis of the body.
    """
    along, against = LETTERS[axis]
    return (codes.index(along), True) if along in codes else (codes.index(against), False)


def across_slices(codes: Orientation) -> int:
    """Return the number, in `AXES`, of the axis of the body along which slices follow each other."""
    return next(number for number, axis in enumerate(AXES) if array_axis(codes, axis)[0] == 0)
