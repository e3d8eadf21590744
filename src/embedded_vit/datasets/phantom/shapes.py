"""The shapes that a phantom patient is made of: deformed ellipsoids, blocks and tubes, united or cut.

Positions are in mm in the patient: (superior, left, posterior), the direction in which slices, rows and columns of a
volume in training orientation run. In an anatomy whose slices are not axial they are (along the slices, along the
rows, along the columns) all the same. A shape is evaluated one slice at a time, and only inside its bounding box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

__all__ = ["Blob", "Block", "PixelBox", "Position", "Shape", "SlicePlane", "Structure", "Tube"]

Position = tuple[float, float, float]  # superior, left, posterior, in mm
PixelBox = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True, eq=False)
class SlicePlane:
    """The places of the pixels of one slice.

    Attributes:
        superior_mm: Height of the slice.
        left_mm: (rows,) float32, rising evenly.
        posterior_mm: (columns,) float32, rising evenly.
    """

    superior_mm: float
    left_mm: NDArray[np.float32]
    posterior_mm: NDArray[np.float32]

    def box(self, left: float, posterior: float, reach_left: float, reach_posterior: float) -> PixelBox:
        """Return the pixels within a rectangle around (left, posterior), in mm."""
        rows = np.searchsorted(self.left_mm, [left - reach_left, left + reach_left])
        columns = np.searchsorted(self.posterior_mm, [posterior - reach_posterior, posterior + reach_posterior])
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))


class Shape(Protocol):
    """Anything that has a cross-section in every slice."""

    def inside(self, plane: SlicePlane) -> tuple[PixelBox, NDArray[np.bool_]] | None:
        """Return the cross-section: its bounding box and, in it, which pixels are inside; None where it is empty."""


@dataclass(frozen=True)
class _Rounded:
    """A shape with a middle and three half axes."""

    centre_mm: Position
    radii_mm: Position

    def shrunk(self, margin_mm: float) -> Self:
        """Return the same shape with its surface moved inwards."""
        first, second, third = (max(radius - margin_mm, 0.5) for radius in self.radii_mm)
        return replace(self, radii_mm=(first, second, third))


@dataclass(frozen=True)
class Blob(_Rounded):
    """An ellipsoid that may be turned about the long axis of the body, lean, and have a wavy surface.

    Attributes:
        centre_mm: Its middle.
        radii_mm: Half axes along superior, left and posterior, before turning.
        turn: Angle in radians, from left towards posterior.
        lean: How far the middle moves to the left and to posterior for every mm upwards.
        waves: Depth of the surface's waves, relative to the radius.
        wave_length_mm: Distance between two crests.
        phase: Where the waves begin, in radians.
    """

    turn: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)
    waves: float = 0.0
    wave_length_mm: float = 60.0
    phase: float = 0.0

    def inside(self, plane: SlicePlane) -> tuple[PixelBox, NDArray[np.bool_]] | None:
        """Return the cross-section: its bounding box and, in it, which pixels are inside; None where it is empty."""
        height = plane.superior_mm - self.centre_mm[0]
        room = (1 + self.waves) ** 2 - (height / self.radii_mm[0]) ** 2
        if room <= 0:
            return None
        left = self.centre_mm[1] + self.lean[0] * height
        posterior = self.centre_mm[2] + self.lean[1] * height
        cosine, sine = np.cos(self.turn), np.sin(self.turn)
        reach_left = np.hypot(self.radii_mm[1] * cosine, self.radii_mm[2] * sine) * np.sqrt(room)
        reach_posterior = np.hypot(self.radii_mm[1] * sine, self.radii_mm[2] * cosine) * np.sqrt(room)
        box = plane.box(left, posterior, float(reach_left), float(reach_posterior))
        to_left = (plane.left_mm[box[0]] - np.float32(left))[:, None]
        to_posterior = (plane.posterior_mm[box[1]] - np.float32(posterior))[None, :]
        if not to_left.size or not to_posterior.size:
            return None
        along = (to_left * np.float32(cosine) + to_posterior * np.float32(sine)) / np.float32(self.radii_mm[1])
        across = (to_posterior * np.float32(cosine) - to_left * np.float32(sine)) / np.float32(self.radii_mm[2])
        level = along * along + across * across + np.float32((height / self.radii_mm[0]) ** 2)
        limit: NDArray[np.float32] = np.ones((1, 1), np.float32)
        if self.waves:
            step = 2 * np.pi / self.wave_length_mm
            ripple = np.sin(to_left * step + self.phase + height * step) * np.cos(to_posterior * step + 2 * self.phase)
            limit = (1 + np.float32(self.waves) * ripple.astype(np.float32)) ** 2
        return box, level < limit


@dataclass(frozen=True)
class Block(_Rounded):
    """A box with rounded edges, as a vertebra's body is: a superellipsoid, turned within the slice.

    Attributes:
        centre_mm: Its middle.
        radii_mm: Half axes along slices, rows and columns, before turning.
        turn: Angle in radians, from rows towards columns.
        roundness: Exponent: 2 is an ellipsoid, and more is nearer to a box.
    """

    turn: float = 0.0
    roundness: float = 5.0

    def inside(self, plane: SlicePlane) -> tuple[PixelBox, NDArray[np.bool_]] | None:
        """Return the cross-section, as `Shape.inside`."""
        height = (plane.superior_mm - self.centre_mm[0]) / self.radii_mm[0]
        if abs(height) >= 1:
            return None
        reach = float(np.hypot(self.radii_mm[1], self.radii_mm[2])) * 1.2
        box = plane.box(self.centre_mm[1], self.centre_mm[2], reach, reach)
        down = (plane.left_mm[box[0]] - np.float32(self.centre_mm[1]))[:, None]
        across = (plane.posterior_mm[box[1]] - np.float32(self.centre_mm[2]))[None, :]
        if not down.size or not across.size:
            return None
        cosine, sine = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        first = np.abs((down * cosine + across * sine) / np.float32(self.radii_mm[1]))
        second = np.abs((across * cosine - down * sine) / np.float32(self.radii_mm[2]))
        return box, first**self.roundness + second**self.roundness < 1 - abs(height) ** self.roundness


@dataclass(frozen=True)
class Tube:
    """A straight tube with round ends, as a vessel or the shaft of a bone; its width may change along it.

    Attributes:
        begin_mm, end_mm: The middles of both ends.
        begin_radius_mm, end_radius_mm: The radii there.
    """

    begin_mm: Position
    end_mm: Position
    begin_radius_mm: float
    end_radius_mm: float

    def shrunk(self, margin_mm: float) -> Tube:
        """Return the same tube with its surface moved inwards."""
        begin, end = (max(radius - margin_mm, 0.5) for radius in (self.begin_radius_mm, self.end_radius_mm))
        return replace(self, begin_radius_mm=begin, end_radius_mm=end)

    def inside(self, plane: SlicePlane) -> tuple[PixelBox, NDArray[np.bool_]] | None:
        """Return the cross-section, as `Shape.inside`."""
        begin, end = self.begin_mm, self.end_mm
        widest = max(self.begin_radius_mm, self.end_radius_mm)
        if not min(begin[0], end[0]) - widest < plane.superior_mm < max(begin[0], end[0]) + widest:
            return None
        middle = [(begin[axis] + end[axis]) / 2 for axis in (1, 2)]
        reach = [abs(begin[axis] - end[axis]) / 2 + widest for axis in (1, 2)]
        box = plane.box(middle[0], middle[1], reach[0], reach[1])
        height = np.float32(plane.superior_mm - begin[0])
        down = (plane.left_mm[box[0]] - np.float32(begin[1]))[:, None]
        across = (plane.posterior_mm[box[1]] - np.float32(begin[2]))[None, :]
        if not down.size or not across.size:
            return None
        along = np.array(end, np.float32) - np.array(begin, np.float32)
        share = (height * along[0] + down * along[1] + across * along[2]) / max(float(along @ along), 1e-6)
        share = np.clip(share, 0, 1).astype(np.float32)
        distance = (height - share * along[0]) ** 2 + (down - share * along[1]) ** 2 + (across - share * along[2]) ** 2
        radius = self.begin_radius_mm + share * np.float32(self.end_radius_mm - self.begin_radius_mm)
        return box, distance < radius * radius


@dataclass(frozen=True)
class Structure:
    """A part of the body: blobs united, others cut out, and what fills it.

    Attributes:
        parts: United.
        intensity_hu: Mean intensity; of MR in the scanner's unit.
        label: Number in the mask; 0 for what is not labelled.
        cuts: Taken away.
        texture_hu: Standard deviation of its slow mottling.
        gas_before_mm: In front of this position (posterior, mm) it holds gas, as a supine patient's gut does.
        in_cavity: Whether it ends at the abdominal wall.
    """

    parts: tuple[Shape, ...]
    intensity_hu: float
    label: int = 0
    cuts: tuple[Shape, ...] = ()
    texture_hu: float = 5.0
    gas_before_mm: float | None = None
    in_cavity: bool = True

    def inside(self, plane: SlicePlane) -> tuple[PixelBox, NDArray[np.bool_]] | None:
        """Return the cross-section, as `Blob.inside`."""
        sections = [section for part in self.parts if (section := part.inside(plane)) is not None]
        if not sections:
            return None
        rows = slice(min(box[0].start for box, _ in sections), max(box[0].stop for box, _ in sections))
        columns = slice(min(box[1].start for box, _ in sections), max(box[1].stop for box, _ in sections))
        united = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        for box, inside in sections:
            united[_within(box, rows, columns)] |= inside
        for cut in self.cuts:
            section = cut.inside(plane)
            if section is not None:
                whole = np.zeros((len(plane.left_mm), len(plane.posterior_mm)), bool)
                whole[section[0]] = section[1]
                united &= ~whole[rows, columns]
        return (rows, columns), united


def _within(box: PixelBox, rows: slice, columns: slice) -> PixelBox:
    """Return a box in the coordinates of the larger box (rows, columns)."""
    return (
        slice(box[0].start - rows.start, box[0].stop - rows.start),
        slice(box[1].start - columns.start, box[1].stop - columns.start),
    )
