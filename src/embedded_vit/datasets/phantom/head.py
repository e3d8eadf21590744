"""The head on CT: scalp, skull, brain with ventricles, eyes, air in the nose and its sinuses, and the upper neck.

Lengths are in mm from the middle of the brain.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from embedded_vit.datasets.phantom.anatomy import Anatomy, Body, painted
from embedded_vit.datasets.phantom.shapes import Blob, Position, Structure, Tube
from embedded_vit.labels import LabelSet

__all__ = ["HEAD"]

BRAIN, VENTRICLES = 1, 2
CONTRAST = 0.3  # of the scans


def draw_head(rng: np.random.Generator) -> Body:
    """Draw a patient's head."""
    scale = float(rng.uniform(0.9, 1.08))
    radii = (68 * scale, float(rng.uniform(62, 70)) * scale, float(rng.uniform(80, 90)) * scale)
    structures = (*_outside(rng, scale, radii), *_base(rng, scale), *_brain(rng, scale, radii))
    return Body(
        width_mm=2 * (radii[2] + 18 * scale),
        margin_mm=(10, 45),
        height_mm=(150, 185),
        lowest_mm=(-100, -70),
        noise=float(rng.uniform(3, 9)),
        render=partial(painted, structures),
    )


def _outside(rng: np.random.Generator, scale: float, radii: Position) -> list[Structure]:
    """Draw holder, scalp, face, neck and skull, which fills with brain later."""

    def grown(margin_mm: float) -> Blob:
        return Blob((0, 0, 0), (radii[0] + margin_mm, radii[1] + margin_mm, radii[2] + margin_mm))

    scalp, skull = float(rng.uniform(5, 9)), float(rng.uniform(5, 8.5))
    holder = Blob((0, 0, 12 * scale), (400, radii[1] + skull + scalp + 16, radii[2] + skull + scalp + 6))
    inner_holder = Blob((0, 0, 0), (400, radii[1] + skull + scalp + 14, radii[2] + skull + scalp + 14))
    face = Blob((-70 * scale, 0, -42 * scale), (62 * scale, 58 * scale, 56 * scale))
    neck = Tube((-60 * scale, 0, 22 * scale), (-200 * scale, 0, 20 * scale), 58 * scale, 54 * scale)
    front = Blob((0, 0, -100 * scale), (400, 200, 90 * scale))
    return [
        Structure((holder,), -60, cuts=(inner_holder, front), texture_hu=3),
        Structure((grown(skull + scalp), face, neck), -5, texture_hu=10),
        Structure((grown(skull + scalp - 2), face.shrunk(3), neck.shrunk(3)), -85, texture_hu=20),
        Structure((face.shrunk(12), neck.shrunk(10)), 58, texture_hu=14),
        Structure((grown(skull),), float(rng.normal(1050, 110)), texture_hu=60),
    ]


def _base(rng: np.random.Generator, scale: float) -> list[Structure]:
    """Draw what lies under the brain: bones, sinuses, eyes, airway, jaw, the first vertebrae."""

    def blob(superior: float, left: float, posterior: float, *radii: float) -> Blob:
        first, second, third = (radius * scale for radius in radii)
        return Blob((superior * scale, left * scale, posterior * scale), (first, second, third), waves=0.04)

    structures = [
        Structure((blob(-48, 0, -62, 18, 24, 22),), 700, texture_hu=150),
        Structure((blob(-52, 0, -52, 22, 9, 24), blob(-38, 0, -74, 8, 16, 10)), -900, texture_hu=60),
        Structure((blob(-85, 0, 12, 60, 11, 9),), -980, texture_hu=2),
        Structure((blob(-88, 0, 40, 60, 22, 12),), 620, texture_hu=90),
        Structure((blob(-88, 0, 56, 60, 8, 7),), 30),
    ]
    for side in (-1, 1):
        jaw = Tube((-60 * scale, side * 46 * scale, -8 * scale), (-100 * scale, side * 20 * scale, -76 * scale),
                   6 * scale, 8 * scale)  # fmt: skip
        petrous = Tube((-52 * scale, side * 18 * scale, 2 * scale), (-46 * scale, side * 58 * scale, 24 * scale),
                       9 * scale, 13 * scale)  # fmt: skip
        structures += [
            Structure((blob(-62, side * 28, -62, 17, 15, 18),), 800, texture_hu=80),
            Structure((blob(-62, side * 28, -62, 15, 13, 16),), -920 if rng.random() < 0.85 else 25, texture_hu=30),
            Structure((jaw,), 1100),
            Structure((petrous,), 1000, texture_hu=200),
            Structure((blob(-50, side * 54, 30, 9, 6, 10),), -600, texture_hu=200),
            Structure((blob(-30, side * 32, -66, 19, 18, 26),), 650),
            Structure((blob(-30, side * 32, -69, 17, 16, 25),), -75, texture_hu=10),
            Structure((blob(-30, side * 32, -78, 12, 12, 12),), 12, texture_hu=2),
        ]
    return structures


def _brain(rng: np.random.Generator, scale: float, radii: Position) -> list[Structure]:
    lift = Blob((-75 * scale, 0, -60 * scale), (44 * scale, 70 * scale, 62 * scale))  # the base rises towards the front
    grey = float(rng.normal(38, 2)) + (8 if rng.random() < CONTRAST else 0)
    whole = Blob((0, 0, 0), radii)
    cortex = Blob((0, 0, 0), (radii[0] - 3, radii[1] - 3, radii[2] - 3), waves=0.035, wave_length_mm=17 * scale)
    white = Blob((2, 0, 0), (radii[0] - 14, radii[1] - 13, radii[2] - 14), waves=0.13, wave_length_mm=21 * scale)
    falx = Blob((34 * scale, 0, 4), (34 * scale, 1.3, radii[2] - 4))
    wide = float(rng.uniform(0.7, 1.9))  # older people have wider ventricles
    nuclei = tuple(Blob((-4 * scale, side * 20 * scale, 0), (14, 9, 18)) for side in (-1, 1))
    structures = [
        Structure((whole,), 9, cuts=(lift,), texture_hu=2),
        Structure((cortex,), grey, BRAIN, cuts=(lift,), texture_hu=2.5),
        Structure((white,), grey - 9, BRAIN, cuts=(lift,), texture_hu=2),
        Structure(nuclei, grey + 1, BRAIN, texture_hu=2),
        Structure((Blob((-62 * scale, 0, 22 * scale), (30 * scale, 13 * scale, 13 * scale)),), grey - 5, BRAIN),
        Structure((falx,), 55),
    ]
    horns: list[Tube] = []
    for side in (-1, 1):
        path = [(14, 7, -34), (22, 10, -8), (20, 14, 18), (8, 24, 36), (-12, 32, 16)]
        points = [(up * scale, side * left * scale, back * scale) for up, left, back in path]
        widths = [3.2 * wide, 4.0 * wide, 4.0 * wide, 4.4 * wide, 2.2 * wide]
        horns += [Tube(points[number], points[number + 1], widths[number], widths[number + 1]) for number in range(4)]
    third = Blob((-2 * scale, 0, -2 * scale), (14 * scale, 1.8 * wide, 14 * scale))
    return [*structures, Structure((*horns, third), float(rng.normal(8, 2)), VENTRICLES, texture_hu=1)]


HEAD = Anatomy(LabelSet.from_names(["brain", "ventricles"]), draw_head)
