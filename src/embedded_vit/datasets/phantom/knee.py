"""The knee on CT: femur, tibia, fibula and patella in muscle and fat; one leg or both.

Lengths are in mm from the middle of the joint.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from embedded_vit.datasets.phantom.anatomy import Anatomy, Body, painted
from embedded_vit.datasets.phantom.shapes import Blob, Position, Shape, Structure, Tube
from embedded_vit.labels import LabelSet

__all__ = ["KNEE"]

FEMUR, TIBIA, FIBULA, PATELLA = 1, 2, 3, 4
BOTH_LEGS = 0.4  # of the scans
CORTEX_HU, MARROW_HU = 1150.0, -40.0


def draw_knee(rng: np.random.Generator) -> Body:
    """Draw a patient's knee, or both."""
    scale, both = float(rng.uniform(0.88, 1.1)), bool(rng.random() < BOTH_LEGS)
    thick = float(rng.uniform(0.85, 1.2)) * scale
    apart = float(rng.uniform(1.08, 1.35)) * 78 * thick if both else 0.0
    outward = (-1, 1) if both else (int(rng.choice([-1, 1])),)
    structures = tuple(
        structure for side in outward for structure in _Leg(rng, scale, thick, side, side * apart).structures()
    )
    return Body(
        width_mm=2 * (78 * thick + abs(apart)),
        margin_mm=(12, 60),
        height_mm=(150, 210),
        lowest_mm=(-105, -75),
        noise=float(rng.uniform(8, 22)),
        render=partial(painted, structures),
    )


class _Leg:
    """One leg around the common plan.

    Args:
        rng: Source of everything that differs between legs.
        scale, thick: Length of the bones and width of the leg, relative to the plan.
        side: 1 where the fibula is to the left, -1 where it is to the right.
        middle_mm: Where the leg is, to the left.
    """

    def __init__(self, rng: np.random.Generator, scale: float, thick: float, side: int, middle_mm: float) -> None:
        self.rng, self.scale, self.thick, self.side, self.middle_mm = rng, scale, thick, side, middle_mm

    def at(self, superior: float, outward: float, posterior: float) -> Position:
        """Return the place of a point of the plan."""
        return superior * self.scale, self.middle_mm + self.side * outward * self.scale, posterior * self.scale

    def tube(self, begin: Position, end: Position, *radii: float) -> Tube:
        """Return a tube between two points of the plan."""
        first, second = (radius * self.scale for radius in radii)
        return Tube(self.at(*begin), self.at(*end), first, second)

    def blob(self, centre: Position, radii: Position) -> Blob:
        """Return a blob of the plan."""
        stretched = [radius * self.scale * float(self.rng.uniform(0.94, 1.06)) for radius in radii]
        return Blob(self.at(*centre), (stretched[0], stretched[1], stretched[2]), waves=0.03, wave_length_mm=30)

    def structures(self) -> list[Structure]:
        """Return skin, fat, muscles, vessels and bones in the order of painting."""
        skin = (
            Tube(self.at(0, 0, 4), self.at(190, 0, 6), 66 * self.thick, 84 * self.thick),
            Tube(self.at(0, 0, 4), self.at(-190, 0, 16), 66 * self.thick, 56 * self.thick),
        )
        fat = float(self.rng.uniform(6, 16))
        inner = tuple(part.shrunk(fat) for part in skin)
        muscle = float(self.rng.normal(58, 5))
        kneecap = self.blob((-25, 0, -38), (26, 12, 6))
        structures = [
            Structure(skin, 5),
            Structure(tuple(part.shrunk(2) for part in skin), float(self.rng.normal(-102, 5)), texture_hu=8),
            Structure(inner, muscle, texture_hu=10),
            Structure(self._seams(), -80, texture_hu=15),
            Structure((self.blob((0, 0, 48), (45, 16, 14)),), -90, texture_hu=10),
            Structure(
                (self.tube((190, 2, 40), (-190, 2, 32), 4.5, 3.5),), float(self.rng.choice([45.0, 180.0, 320.0]))
            ),
            Structure((kneecap,), 75),
            Structure((self.blob((0, 0, -26), (16, 26, 12)),), -70, texture_hu=15),
        ]
        return [*structures, *self._bones()]

    def _seams(self) -> tuple[Shape, ...]:
        """Return the fat between the muscles."""
        angles = self.rng.uniform(0, 2 * np.pi) + np.arange(7) * 0.9
        reach = [float(value) for value in self.rng.uniform(28, 48, 7)]
        return tuple(
            self.tube((190, r * np.cos(a) * 1.15, r * np.sin(a) * 1.15), (-190, r * np.cos(a), r * np.sin(a)), 3.2, 2.6)
            for r, a in zip(reach, (float(angle) for angle in angles), strict=True)
        )

    def _bones(self) -> list[Structure]:
        spongy = float(self.rng.normal(210, 40))
        condyles = [self.blob((16, outward, 8), (22, 19, 28)) for outward in (-22, 22)]
        thigh = (self.tube((190, 0, -6), (62, 0, -4), 14, 15), self.tube((62, 0, -4), (22, 0, 0), 15, 27))
        femur: tuple[Tube | Blob, ...] = (*thigh, *condyles)
        hollow = (self.tube((190, 0, -6), (70, 0, -4), 8, 8),)
        plateau = self.blob((-21, 0, 6), (14, 37, 25))
        tibia = (
            plateau,
            self.tube((-26, 0, 4), (-72, -2, 2), 26, 15),
            self.tube((-72, -2, 2), (-190, -3, 4), 15, 12.5),
        )
        shaft = (self.tube((-80, -2, 2), (-190, -3, 4), 8, 7),)
        fibula = (self.tube((-36, 33, 22), (-50, 33, 24), 10, 6.5), self.tube((-50, 33, 24), (-190, 29, 22), 6.5, 6))
        patella = self.blob((22, 0, -42), (20, 21, 10))
        bones: list[tuple[int, tuple[Tube | Blob, ...], tuple[Tube, ...]]] = [
            (FEMUR, femur, hollow),
            (TIBIA, tibia, shaft),
            (FIBULA, fibula, ()),
            (PATELLA, (patella,), ()),
        ]
        structures = []
        for label, parts, marrow in bones:
            structures += [
                Structure(parts, CORTEX_HU, label, texture_hu=60),
                Structure(tuple(part.shrunk(2.5) for part in parts), spongy, label, texture_hu=45),
            ]
            if marrow:
                around = tuple(tube.shrunk(-4) for tube in marrow)
                structures += [Structure(around, CORTEX_HU, label, texture_hu=50), Structure(marrow, MARROW_HU, label)]
        return structures


KNEE = Anatomy(LabelSet.from_names(["femur", "tibia", "fibula", "patella"]), draw_knee)
