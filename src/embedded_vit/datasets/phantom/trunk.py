"""The trunk around chest and abdomen: table, skin, fat, muscular wall and ribs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedded_vit.datasets.phantom.shapes import SlicePlane

__all__ = ["LUNG_HU", "Trunk"]

LUNG_HU, TABLE_HU, RIB_HU = -840.0, 40.0, 450.0
RIB_DISTANCE_MM = 30.0


@dataclass(frozen=True)
class Trunk:
    """The wall of a patient's trunk.

    Attributes:
        half_width_mm, half_depth_mm: Half axes (left, posterior).
        fat_mm: Thickness of the fat under the skin.
        wall_mm: Thickness of the muscular wall.
        fat_hu, muscle_hu: Intensities.
        diaphragm_mm: Height of its right dome; the left one is a little lower.
        rib_phase: Where the ribs begin, in radians.
        widest_mm: The height at which the trunk is widest.
        length_mm: How far above and below it is narrower by 5 %.
    """

    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    wall_mm: float
    fat_hu: float
    muscle_hu: float
    diaphragm_mm: float
    rib_phase: float
    widest_mm: float = -20.0
    length_mm: float = 120.0

    def paint(self, plane: SlicePlane, hu: NDArray[np.float32], texture: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Paint table, skin, fat, muscular wall and ribs; return the cavity inside the wall."""
        left, posterior = plane.left_mm[:, None], plane.posterior_mm[None, :]
        table = self.half_depth_mm + 4 + (left / 230) ** 2 * -38
        thickness_mm = max(2.0, 1.2 * float(plane.posterior_mm[1] - plane.posterior_mm[0]))
        for below_mm in (0, 26 * (1 - (left / 210) ** 2).clip(0)):  # the table's top and bottom
            hu[np.abs(posterior - table - below_mm) < thickness_mm / 2] = TABLE_HU
        narrowing = 1 - 0.05 * ((plane.superior_mm - self.widest_mm) / self.length_mm) ** 2

        def level(margin_mm: float) -> NDArray[np.float32]:
            """Return numbers below 1 inside the trunk's outline, moved inwards: a superellipse, flat in front."""
            half_width = (self.half_width_mm - margin_mm) * narrowing
            half_depth = self.half_depth_mm - 0.75 * margin_mm
            return np.abs(left / half_width) ** 2.3 + np.abs(posterior / half_depth) ** 2.3

        skin, outer = level(0), level(self.fat_mm)
        middle, inner = level(self.fat_mm + self.wall_mm / 2), level(self.fat_mm + self.wall_mm)
        np.copyto(hu, self.fat_hu + 6 * texture, where=skin < 1)
        hu[(skin < 1) & (level(2) > 1)] = 0.0
        wall = (outer < 1) & (inner > 1)
        np.copyto(hu, self.muscle_hu + 10 * texture, where=wall)
        if plane.superior_mm > -30:
            angle = np.arctan2(left / self.half_width_mm, posterior / self.half_depth_mm)
            ribs = np.sin(2 * np.pi * plane.superior_mm / RIB_DISTANCE_MM + 9 * np.abs(angle) + self.rib_phase) > 0.62
            hu[ribs & wall & (np.abs(middle - 1) < 0.075)] = RIB_HU
        return inner < 1

    def diaphragm(self, plane: SlicePlane) -> NDArray[np.float32]:
        """Return the height of the diaphragm in mm over every pixel: two domes, lowest at the wall behind."""
        left, posterior = plane.left_mm[:, None], plane.posterior_mm[None, :]
        right_dome = self.diaphragm_mm - ((left + 62) / 72) ** 2 * 42 - ((posterior + 4) / 88) ** 2 * 62
        left_dome = self.diaphragm_mm - 12 - ((left - 62) / 72) ** 2 * 42 - ((posterior + 4) / 88) ** 2 * 62
        return np.maximum(right_dome, left_dome)
