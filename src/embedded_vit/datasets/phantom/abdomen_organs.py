"""The anatomy of one phantom patient, drawn at random around a common plan.

The plan's lengths are those of a supine adult, in mm from a point in front of the first lumbar vertebra; intensities
are those of contrast-enhanced CT, in HU. Organs overlap in intensity with each other, with bowel and with muscle, so
that no threshold finds them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from embedded_vit.datasets.phantom.shapes import Blob, Position, Structure
from embedded_vit.datasets.phantom.trunk import Trunk
from embedded_vit.labels import SYNAPSE_LABELS

__all__ = ["Patient", "draw_patient"]

AORTA, GALLBLADDER, LEFT_KIDNEY, RIGHT_KIDNEY, LIVER, PANCREAS, SPLEEN, STOMACH = (
    label.id for label in SYNAPSE_LABELS.labels
)
MISSING_GALLBLADDER = 0.12  # of the patients: taken out
ARTERIAL_PHASE = 0.2  # of the scans


@dataclass(frozen=True)
class Patient:
    """A patient, as a renderer needs it.

    Attributes:
        trunk: The wall around all of it.
        before_lungs: Structures in the order of painting, cut off by the lungs.
        after_lungs: Structures that the lungs do not cut off: heart, vessels, spine.
        noise_hu: Standard deviation of the scanner's noise.
    """

    trunk: Trunk
    before_lungs: tuple[Structure, ...]
    after_lungs: tuple[Structure, ...]
    noise_hu: float


class _Plan:
    """The random source of a patient's shapes, which differ from the common plan in scale, shift and proportions."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.scale = float(rng.uniform(0.88, 1.1))
        self.arterial = bool(rng.random() < ARTERIAL_PHASE)

    def hu(self, venous: float, arterial: float, spread: float) -> float:
        """Draw an intensity by contrast phase, with its spread between patients."""
        return float(self.rng.normal(arterial if self.arterial else venous, spread))

    def blob(self, centre: Position, radii: Position, *, shift: float = 5.0, vary: float = 0.1, **shape: float) -> Blob:
        """Draw a blob of the plan, shifted (standard deviation in mm) and stretched (relative) for this patient."""
        moved = [self.scale * value + self.rng.normal(0, shift) for value in centre]
        stretched = [self.scale * value * self.rng.uniform(1 - vary, 1 + vary) for value in radii]
        return Blob(
            (moved[0], moved[1], moved[2]),
            (stretched[0], stretched[1], stretched[2]),
            turn=shape.get("turn", 0.0) + float(self.rng.normal(0, 0.08)),
            lean=(shape.get("lean_left", 0.0), shape.get("lean_posterior", 0.0)),
            waves=shape.get("waves", 0.06),
            wave_length_mm=shape.get("wave_length_mm", 55.0) * self.scale,
            phase=float(self.rng.uniform(0, 2 * np.pi)),
        )

    def tube(
        self, points: list[Position], radii: list[float], *, shift: float, waves: float = 0.08
    ) -> tuple[Blob, ...]:
        """Draw spheres along a line through points; the whole line is shifted, its points a little more."""
        whole = self.rng.normal(0, shift, 3)
        path = np.array(points) * self.scale + whole + self.rng.normal(0, shift / 3, (len(points), 3))
        steps = np.linspace(0, len(points) - 1, 4 * len(points) - 3)
        known = np.arange(len(points))
        line = np.stack([np.interp(steps, known, path[:, axis]) for axis in range(3)], axis=1)
        widths = np.interp(steps, known, np.array(radii) * self.scale * self.rng.uniform(0.88, 1.12))
        phases = self.rng.uniform(0, 2 * np.pi, len(steps))
        return tuple(
            Blob(
                (float(middle[0]), float(middle[1]), float(middle[2])),
                (float(width),) * 3,
                waves=waves,
                wave_length_mm=18,
                phase=float(phase),
            )
            for middle, width, phase in zip(line, widths, phases, strict=True)
        )


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw a patient.

    Args:
        rng: Source of everything that differs between patients.
    """
    plan = _Plan(rng)
    fat = float(rng.uniform(10, 34))
    return Patient(
        trunk=Trunk(
            half_width_mm=138 * plan.scale + fat,
            half_depth_mm=99 * plan.scale + 0.75 * fat,
            fat_mm=fat,
            wall_mm=float(rng.uniform(10, 15)),
            fat_hu=float(rng.normal(-102, 5)),
            muscle_hu=float(rng.normal(58, 6)),
            diaphragm_mm=float(rng.normal(98, 7)) * plan.scale,
            rib_phase=float(rng.uniform(0, 2 * np.pi)),
        ),
        before_lungs=(*_bowel(plan), *_liver(plan), *_spleen(plan), *_stomach(plan), *_pancreas(plan),
                      *_kidneys(plan), *_gallbladder(plan)),
        after_lungs=(*_heart(plan), *_vessels(plan), *_bones(plan)),
        noise_hu=float(rng.uniform(11, 20)),
    )  # fmt: skip


def _liver(plan: _Plan) -> list[Structure]:
    right = plan.blob((38, -78, 2), (88, 72, 88), turn=0.25, waves=0.05, wave_length_mm=110)
    left = plan.blob((52, 2, -56), (42, 68, 34), turn=-0.3, waves=0.07)
    hilum = plan.blob((15, -28, 15), (48, 26, 40))
    below = plan.blob((-48, -35, -40), (42, 45, 60))
    intensity = plan.hu(106, 72, 12)
    veins = [
        plan.blob(
            (62 - 12 * index, -95 + 28 * index, 5 - 14 * index), (28, 5, 4), lean_left=-0.5 + 0.4 * index, waves=0
        )
        for index in range(4)
    ]
    return [
        Structure((right, left), intensity, LIVER, cuts=(hilum, below), texture_hu=6),
        Structure(tuple(veins), intensity + plan.hu(38, 4, 4), LIVER, cuts=(hilum, below)),
    ]


def _spleen(plan: _Plan) -> list[Structure]:
    body = plan.blob((48, 98, 32), (46, 34, 48), turn=0.5, lean_left=-0.12, vary=0.16)
    hollow = plan.blob((45, 64, 14), (60, 30, 38), turn=0.4)
    return [Structure((body,), plan.hu(118, 128, 13), SPLEEN, cuts=(hollow,), texture_hu=14 if plan.arterial else 5)]


def _stomach(plan: _Plan) -> list[Structure]:
    fundus = plan.blob((66, 58, 6), (40, 34, 38), vary=0.15)
    body = plan.blob((32, 58, -36), (50, 30, 32), lean_left=0.15, turn=0.3, vary=0.15)
    antrum = plan.blob((4, 18, -54), (20, 44, 17), turn=-0.2, vary=0.15)
    walls = (fundus, body, antrum)
    drank_contrast = plan.rng.random() < 0.25
    content = float(plan.rng.normal(210, 30) if drank_contrast else plan.rng.normal(32, 12))
    hollow = tuple(part.shrunk(float(plan.rng.uniform(4, 7))) for part in walls)
    gas_before = float(plan.rng.normal(-52, 8)) * plan.scale
    return [
        Structure(walls, plan.hu(82, 95, 8), STOMACH),
        Structure(hollow, content, STOMACH, texture_hu=float(plan.rng.uniform(4, 22)), gas_before_mm=gas_before),
    ]


def _pancreas(plan: _Plan) -> list[Structure]:
    points = [(-26.0, -34.0, 4.0), (-6.0, -32.0, -6.0), (6.0, -14.0, -22.0), (12.0, 12.0, -20.0), (20.0, 40.0, 0.0),
              (30.0, 66.0, 20.0)]  # fmt: skip
    line = plan.tube(points, [11, 15, 11, 9.5, 10.5, 9], shift=5, waves=0.2)
    return [Structure(line, plan.hu(94, 108, 10), PANCREAS, texture_hu=20)]


def _kidneys(plan: _Plan) -> list[Structure]:
    structures = []
    cortex, medulla = plan.hu(178, 215, 18), plan.hu(150, 95, 18)
    for label, side, height in ((LEFT_KIDNEY, 1, -6), (RIGHT_KIDNEY, -1, -18)):
        outer = plan.blob((height, side * 66, 46), (54, 27, 31), turn=side * 0.5, lean_left=-side * 0.2)
        middle = outer.centre_mm
        sinus = Blob(
            (middle[0], middle[1] - side * 15 * plan.scale, middle[2] - 8 * plan.scale),
            (24 * plan.scale, 15 * plan.scale, 10 * plan.scale),
            turn=outer.turn,
            waves=0.15,
            wave_length_mm=20,
        )
        inner = replace(outer.shrunk(7.5), waves=0.16, wave_length_mm=22.0)
        structures += [
            Structure((outer,), cortex, label),
            Structure((inner,), medulla, label, texture_hu=14),
            Structure((sinus,), -35, label, texture_hu=25),
        ]
    return structures


def _gallbladder(plan: _Plan) -> list[Structure]:
    shape = plan.blob((-10, -56, -44), (24, 15, 24), turn=-0.4, lean_posterior=0.3, vary=0.25)
    missing = plan.rng.random() < MISSING_GALLBLADDER
    return [] if missing else [Structure((shape,), float(plan.rng.normal(12, 6)), GALLBLADDER, texture_hu=2)]


def _bowel(plan: _Plan) -> list[Structure]:
    """Draw unlabelled loops of bowel, mostly low and in front; some look like stomach, some like pancreas."""
    structures = []
    for _ in range(46):
        centre = (
            float(plan.rng.uniform(-125, 10)),
            float(plan.rng.uniform(-95, 95)),
            float(plan.rng.uniform(-72, 12)),
        )
        width = float(plan.rng.uniform(10, 19))
        wall = plan.blob(centre, (width * 1.2, width * 1.5, width), turn=float(plan.rng.uniform(0, 3)), waves=0.08,
                         wave_length_mm=30)  # fmt: skip
        content = float(plan.rng.choice([25.0, 50.0, 85.0, 230.0], p=[0.35, 0.3, 0.2, 0.15]))
        gas_before = wall.centre_mm[2] - width * 0.2 if plan.rng.random() < 0.35 else None
        structures += [
            Structure((wall,), plan.hu(78, 88, 12)),
            Structure((wall.shrunk(2.5),), content, texture_hu=16, gas_before_mm=gas_before),
        ]
    return structures


def _heart(plan: _Plan) -> list[Structure]:
    muscle = plan.blob((128, 22, -28), (42, 58, 44), turn=0.4)
    chambers = plan.blob((132, 20, -26), (30, 42, 30), turn=0.4)
    return [Structure((muscle,), plan.hu(105, 110, 8)), Structure((chambers,), plan.hu(140, 240, 15))]


def _vessels(plan: _Plan) -> list[Structure]:
    heights = (150.0, 80.0, 20.0, -40.0, -90.0)
    aorta_path = [(height, 16 - 0.02 * height, 36 + 0.02 * height) for height in heights]
    aorta = _column(plan, aorta_path, 12, flat=1.0)
    cava = _column(plan, [(height, -24.0, 30.0 - 0.08 * height) for height in heights], 13, flat=0.75)
    crura = _column(plan, [(height, 8.0, 44.0) for height in heights[1:4]], 19, flat=0.5)
    return [
        Structure(crura, plan.hu(60, 60, 5), in_cavity=False),
        Structure(cava, plan.hu(125, 82, 15), in_cavity=False),
        Structure(aorta, plan.hu(150, 290, 22), AORTA, in_cavity=False, texture_hu=3),
    ]


def _column(plan: _Plan, points: list[Position], radius: float, *, flat: float) -> tuple[Blob, ...]:
    """Draw a vessel along the spine: leaning, overlapping ellipsoids (`flat`: depth over width)."""
    shift = plan.rng.normal(0, 3, 2)
    wide = radius * float(plan.rng.uniform(0.85, 1.15))
    moved = [
        (height * plan.scale, left * plan.scale + shift[0] + plan.rng.normal(0, 1.5), posterior * plan.scale + shift[1])
        for height, left, posterior in points
    ]
    blobs = []
    for upper, lower in itertools.pairwise(moved):
        length = upper[0] - lower[0]
        lean = ((upper[1] - lower[1]) / length, (upper[2] - lower[2]) / length)
        middle = tuple((first + second) / 2 for first, second in zip(upper, lower, strict=True))
        blobs.append(Blob((middle[0], middle[1], middle[2]), (length * 1.1, wide, wide * flat), lean=lean))
    return tuple(blobs)


def _bones(plan: _Plan) -> list[Structure]:
    structures: list[Structure] = []
    spine_shift = float(plan.rng.normal(0, 2))
    first = float(plan.rng.uniform(-18, 18))
    spongy = float(plan.rng.normal(190, 35))
    for side in (-1, 1):
        back = Blob((0, side * 34 * plan.scale, 88 * plan.scale), (400, 30 * plan.scale, 20 * plan.scale), waves=0.05)
        psoas = Blob((-95 * plan.scale, side * 40 * plan.scale, 56 * plan.scale), (95, 19, 20), lean=(-side * 0.12, 0))
        wing = Blob((-150 * plan.scale, side * 92 * plan.scale, 44 * plan.scale), (52, 8, 44), turn=-side * 0.7)
        structures += [
            Structure((back, psoas), plan.hu(58, 58, 4), texture_hu=10, in_cavity=False),
            Structure((wing,), 420, in_cavity=False, texture_hu=60),
        ]
    for index in range(-6, 7):
        height = (first + 33 * index) * plan.scale
        body = Blob(
            (height, spine_shift, 62 * plan.scale), (15 * plan.scale, 23 * plan.scale, 17 * plan.scale), waves=0.04
        )
        disc = Blob((height + 16.5 * plan.scale, spine_shift, 62 * plan.scale), (7, 21 * plan.scale, 15 * plan.scale))
        spinous = Blob((height - 8, spine_shift, 100 * plan.scale), (12, 4, 16))
        arch = Blob((height, spine_shift, 84 * plan.scale), (13, 21, 8))
        canal = Blob((height, spine_shift, 83 * plan.scale), (30, 10, 8))
        structures += [
            Structure((disc,), 90, in_cavity=False),
            Structure((body,), 480, in_cavity=False),
            Structure((replace(body, radii_mm=(30, body.radii_mm[1] - 2.5, body.radii_mm[2] - 2.5)),), spongy,
                      cuts=(disc,), in_cavity=False, texture_hu=30),
            Structure((arch, spinous), 420, in_cavity=False, texture_hu=50),
            Structure((canal,), 25, in_cavity=False),
        ]  # fmt: skip
    return structures
