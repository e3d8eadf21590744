"""The chest on CT: lungs with their vessels, airways, heart, great vessels, ribs and spine.

Lengths are in mm in the frame of the abdomen: above the first lumbar vertebra.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedded_vit.datasets.phantom.anatomy import Anatomy, Body, Painting, paint
from embedded_vit.datasets.phantom.branches import grown_tree
from embedded_vit.datasets.phantom.shapes import Blob, Block, Position, Shape, SlicePlane, Structure, Tube
from embedded_vit.datasets.phantom.trunk import LUNG_HU, Trunk
from embedded_vit.labels import LabelSet
from embedded_vit.volume import AIR_HU

__all__ = ["CHEST"]

LEFT_LUNG, RIGHT_LUNG, AIRWAYS = 1, 2, 3
WALL_MM = 1.6  # of the airways
MEDIASTINUM_MM = 24.0  # its half width


@dataclass(frozen=True)
class _Chest:
    """A patient's chest.

    Attributes:
        trunk: The wall around it.
        lungs: Both, before the diaphragm cuts them off.
        below: Liver, spleen and stomach under the diaphragm.
        inside: What is painted over the lungs, in this order.
    """

    trunk: Trunk
    lungs: tuple[Structure, ...]
    below: tuple[Structure, ...]
    inside: tuple[Structure, ...]

    def __call__(self, plane: SlicePlane, texture: NDArray[np.float32]) -> Painting:
        """Paint one slice."""
        hu, labels = np.full(texture.shape, AIR_HU, np.float32), np.zeros(texture.shape, np.uint8)
        cavity = self.trunk.paint(plane, hu, texture)
        under = cavity & (plane.superior_mm <= self.trunk.diaphragm(plane))
        paint(self.lungs, plane, hu, labels, texture, cavity & ~under)
        paint(self.below, plane, hu, labels, texture, under)
        paint(self.inside, plane, hu, labels, texture, cavity)
        return hu, labels


def draw_chest(rng: np.random.Generator) -> Body:
    """Draw a patient's chest."""
    scale, fat = float(rng.uniform(0.88, 1.1)), float(rng.uniform(8, 28))
    trunk = Trunk(
        half_width_mm=150 * scale + fat,
        half_depth_mm=102 * scale + 0.75 * fat,
        fat_mm=fat,
        wall_mm=float(rng.uniform(12, 19)),
        fat_hu=float(rng.normal(-102, 5)),
        muscle_hu=float(rng.normal(56, 6)),
        diaphragm_mm=float(rng.normal(98, 8)) * scale,
        rib_phase=float(rng.uniform(0, 2 * np.pi)),
        widest_mm=170,
        length_mm=float(rng.uniform(110, 140)),
    )
    contrast = float(rng.choice([45, 150, 280], p=[0.35, 0.4, 0.25])) + float(rng.normal(0, 8))
    return Body(
        width_mm=2 * trunk.half_width_mm,
        margin_mm=(10, 50),
        height_mm=(250, 290),
        lowest_mm=(72, 102),
        noise=float(rng.uniform(12, 28)),
        render=_Chest(trunk, _lungs(rng, scale), _below(rng, scale), _inside(rng, scale, contrast)),
    )


def _lungs(rng: np.random.Generator, scale: float) -> tuple[Structure, ...]:
    lungs = []
    for label, side, reach in ((LEFT_LUNG, 1, 62), (RIGHT_LUNG, -1, 66)):
        centre = (150 * scale, side * 72 * scale + float(rng.normal(0, 2)), 6 * scale)
        radii = (float(rng.uniform(175, 192)) * scale, reach * scale, 90 * scale)
        lungs.append(Structure((Blob(centre, radii, waves=0.02),), LUNG_HU, label, texture_hu=40))
    return tuple(lungs)


def _below(rng: np.random.Generator, scale: float) -> tuple[Structure, ...]:
    liver = Blob((30 * scale, -60 * scale, 0), (95 * scale, 105 * scale, 95 * scale))
    spleen = Blob((50 * scale, 95 * scale, 32 * scale), (42 * scale, 32 * scale, 46 * scale), turn=0.5)
    stomach = Blob((60 * scale, 60 * scale, -10 * scale), (45 * scale, 36 * scale, 40 * scale))
    filling = Blob((0, 0, 0), (400, 400, 400))
    return (
        Structure((filling,), -95),
        Structure((stomach,), 35, gas_before_mm=-25 * scale),
        Structure((liver,), float(rng.normal(95, 18)), texture_hu=6),
        Structure((spleen,), float(rng.normal(110, 14))),
    )


def _inside(rng: np.random.Generator, scale: float, contrast: float) -> tuple[Structure, ...]:
    def at(superior: float, left: float, posterior: float) -> Position:
        return (superior * scale, left * scale, posterior * scale)

    middle = Block(at(210, 0, 0), (170 * scale, MEDIASTINUM_MM * scale, 82 * scale), roundness=3)
    heart = Blob(at(140, 24, -26), at(54, 60, 46), turn=0.45, lean=(-0.25, 0.1))
    chambers = [
        Blob(at(130, 38, -18), at(34, 34, 20), turn=0.5),
        Blob(at(138, -4, -36), at(36, 28, 22), turn=0.3),
        Blob(at(160, 12, 4), at(24, 34, 17)),
    ]
    aorta = _line([at(165, 4, -14), at(225, -16, -18), at(262, -8, -4), at(268, 12, 22), at(245, 22, 40),
                   at(160, 20, 44), at(60, 14, 40)], [15, 16, 14, 13, 12.5, 12, 11], scale)  # fmt: skip
    veins = _line([at(330, -24, -6), at(255, -26, -8), at(170, -26, 2)], [9, 10, 11], scale)
    pulmonary = _line([at(195, 12, -22), at(218, 10, -4), at(216, 40, 12)], [14, 14, 10], scale)
    pulmonary += _line([at(218, 10, -4), at(214, -38, 12)], [12, 9], scale)
    lumen = _airways(rng, scale)
    walls = tuple(tube.shrunk(-WALL_MM) for tube in lumen)
    trees = _lung_vessels(rng, scale)
    blood = max(contrast, 38.0)
    return (
        *(Structure(tree, 40 + 0.5 * blood, label) for label, tree in trees),
        Structure((middle,), -70, texture_hu=22),
        Structure((heart,), 60 + 0.3 * blood, texture_hu=8),
        Structure(tuple(chambers), blood),
        Structure(veins, blood + 20),
        Structure(pulmonary, blood),
        Structure(aorta, blood),
        Structure(walls, 0),
        Structure(lumen, -990, AIRWAYS, texture_hu=3),
        *_bones(rng, scale),
    )


def _line(points: list[Position], radii: list[float], scale: float) -> tuple[Tube, ...]:
    places = zip(points, points[1:], radii, radii[1:], strict=False)
    return tuple(Tube(begin, end, first * scale, second * scale) for begin, end, first, second in places)


def _airways(rng: np.random.Generator, scale: float) -> tuple[Tube, ...]:
    fork = (float(rng.normal(238, 5)) * scale, float(rng.normal(-2, 2)) * scale, 14 * scale)
    tubes = [Tube((400 * scale, 0, 4 * scale), fork, 9.0 * scale, 8.0 * scale)]
    for side, run in ((1, 42), (-1, 30)):
        end = (fork[0] - 26 * scale, side * run * scale, 20 * scale)
        tubes.append(Tube(fork, end, 6.5 * scale, 5.2 * scale))
        for _ in range(2):
            heading = (float(rng.normal(-0.5, 0.6)), side * 1.0, float(rng.normal(0, 0.5)))
            tubes += grown_tree(rng, end, heading, radius_mm=3.6 * scale, length_mm=22 * scale, forks=2)
    return tuple(tubes)


def _lung_vessels(rng: np.random.Generator, scale: float) -> list[tuple[int, tuple[Shape, ...]]]:
    trees: list[tuple[int, tuple[Shape, ...]]] = []
    for label, side in ((LEFT_LUNG, 1), (RIGHT_LUNG, -1)):
        for heading in ((1.0, 0.5, 0.3), (0.2, 1.0, -0.5), (-0.3, 1.0, 0.6), (-1.0, 0.6, 0.2)):
            begin = (205 * scale, side * 40 * scale, 14 * scale)
            towards = (heading[0] + float(rng.normal(0, 0.2)), side * heading[1], heading[2])
            trees.append((label, grown_tree(rng, begin, towards, radius_mm=5 * scale, length_mm=36 * scale, forks=3)))
    return trees


def _bones(rng: np.random.Generator, scale: float) -> tuple[Structure, ...]:
    structures = [
        Structure((Block((210 * scale, 0, -96 * scale), (75 * scale, 17 * scale, 6 * scale)),), 350, in_cavity=False)
    ]
    for side in (-1, 1):
        blade = Blob((290 * scale, side * 92 * scale, 84 * scale), (75, 42, 6), turn=-side * 0.45)
        back = Blob((200 * scale, side * 34 * scale, 92 * scale), (400, 30 * scale, 18 * scale), waves=0.05)
        structures += [
            Structure((back,), 56, in_cavity=False, texture_hu=10),
            Structure((blade,), 420, in_cavity=False, texture_hu=60),
        ]
    spongy, first = float(rng.normal(200, 35)), float(rng.uniform(-12, 12))
    for index in range(15):
        height = (40 + first + 25 * index) * scale
        body = Blob((height, 0, 66 * scale), (11.5 * scale, 19 * scale, 15 * scale))
        structures += [
            Structure((body,), 470, in_cavity=False),
            Structure((replace(body, radii_mm=(20, 16.5 * scale, 12.5 * scale)),), spongy, in_cavity=False,
                      cuts=(Blob((height + 12.5 * scale, 0, 66 * scale), (3 * scale, 17 * scale, 13 * scale)),)),
            Structure((Blob((height, 0, 86 * scale), (10, 19, 8)), Blob((height - 6, 0, 98 * scale), (10, 4, 14))),
                      420, in_cavity=False, texture_hu=50),
            Structure((Blob((height, 0, 85 * scale), (30, 9, 8)),), 25, in_cavity=False),
        ]  # fmt: skip
    return tuple(structures)


CHEST = Anatomy(LabelSet.from_names(["left lung", "right lung", "airways"]), draw_chest)
