"""The lumbar spine on sagittal MR: vertebrae, discs, canal with cord and roots, in thick slices.

Slices run to the left, rows to inferior and columns to posterior, and so do places here: (left, inferior, posterior),
in mm from the middle of the third lumbar vertebra. Intensities are those of a T2-weighted image in arbitrary units.
"""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedded_vit.datasets.phantom.anatomy import Anatomy, Body, Painting, painted
from embedded_vit.datasets.phantom.shapes import Blob, Block, SlicePlane, Structure, Tube
from embedded_vit.labels import LabelSet

__all__ = ["SPINE"]

VERTEBRA, DISC = 1, 2
LEVEL_MM = 34.0  # from one vertebra to the next
ABOVE, BELOW = 4, 4  # vertebrae above and below the third lumbar one; what lies lower is sacrum
WORN = 0.3  # of the discs: dark and flat


def draw_spine(rng: np.random.Generator) -> Body:
    """Draw a patient's lumbar spine."""
    scale, gain = float(rng.uniform(0.9, 1.08)), float(rng.uniform(0.6, 1.8))
    structures = (*_around(rng, scale, gain), *_column(rng, scale, gain))
    shading = float(rng.uniform(0.15, 0.5)) / 150
    return Body(
        width_mm=270 * scale,
        margin_mm=(0, 40),
        height_mm=(56, 70),
        lowest_mm=(-36, -28),
        noise=float(rng.uniform(9, 22)) * gain,
        render=partial(_render, structures, shading),
    )


def _render(
    structures: tuple[Structure, ...], shading: float, plane: SlicePlane, texture: NDArray[np.float32]
) -> Painting:
    """Paint one slice, brighter near the coil behind the back."""
    image, labels = painted(structures, plane, texture, background=8.0)
    return image * np.clip(1 + np.float32(shading) * plane.posterior_mm[None, :], 0.2, 2), labels


def _bend(inferior_mm: float, scale: float) -> tuple[float, float]:
    """Return where the column is at a height, to posterior, and how it is turned there."""
    depth = 22 * scale * (inferior_mm / (120 * scale)) ** 2 - 6 * scale
    return depth, float(np.arctan(44 * scale * inferior_mm / (120 * scale) ** 2))


def _around(rng: np.random.Generator, scale: float, gain: float) -> list[Structure]:
    trunk = Blob((0, 0, 8 * scale), (190, 400, 112 * scale))
    belly = Blob((0, 0, -62 * scale), (150, 400, 52 * scale))
    back = Block((0, 0, 82 * scale), (120, 300, 26 * scale))
    loops = [
        Blob((float(rng.uniform(-35, 35)), float(rng.uniform(-130, 130)), float(rng.uniform(-100, -45)) * scale),
             (18, float(rng.uniform(9, 20)), float(rng.uniform(8, 16))), waves=0.1)
        for _ in range(16)
    ]  # fmt: skip
    aorta = Tube((6, -200, -32 * scale), (4, 70, -30 * scale), 8 * scale, 7 * scale)
    return [
        Structure((trunk,), 640 * gain, texture_hu=30 * gain),
        Structure((belly,), 420 * gain, texture_hu=90 * gain),
        Structure(tuple(loops[:8]), 250 * gain, texture_hu=60 * gain),
        Structure(tuple(loops[8:]), 700 * gain, texture_hu=60 * gain),
        Structure((aorta,), 60 * gain),
        Structure((back,), 190 * gain, texture_hu=50 * gain),
    ]


def _column(rng: np.random.Generator, scale: float, gain: float) -> list[Structure]:
    heights = [LEVEL_MM * scale * level + float(rng.normal(0, 0.8)) for level in range(-ABOVE, BELOW)]
    canal, cord = [], []
    for upper, lower in itertools.pairwise(heights):
        ends = [(0.0, height, _bend(height, scale)[0] + 26 * scale) for height in (upper, lower)]
        canal.append(Tube(ends[0], ends[1], 9 * scale, 9 * scale))
        cord.append(Tube(ends[0], ends[1], 4.5 * scale, 4 * scale))
    bone = float(rng.normal(330, 30)) * gain
    bones: list[Block | Tube] = []
    discs = []
    for number, height in enumerate(heights):
        depth, turn = _bend(height, scale)
        size = 0.86 + 0.14 * number / len(heights)
        radii = (23 * scale * size, 12.8 * scale, 16.5 * scale * size)
        bones.append(Block((0, height, depth), radii, turn=turn))
        spinous = Block((0, height + 8 * scale, depth + 50 * scale), (4, 9 * scale, 14 * scale), turn=0.35, roundness=3)
        arch = [Tube((side * 14 * scale, height, depth + 14 * scale), (side * 14 * scale, height, depth + 34 * scale),
                     6 * scale, 7 * scale) for side in (-1, 1)]  # fmt: skip
        bones += [spinous, *arch]
        middle = height + LEVEL_MM * scale / 2
        depth, turn = _bend(middle, scale)
        flat = 0.6 if rng.random() < WORN else 1.0
        disc = Block((0, middle, depth), (21 * scale, 4.6 * scale * flat, 16 * scale * size), turn=turn, roundness=3)
        kernel = Blob((0, middle, depth), (13 * scale, 3 * scale * flat, 9 * scale), turn=turn)
        bright = (180 if flat < 1 else float(rng.uniform(450, 800))) * gain
        discs += [Structure((disc,), 130 * gain, DISC, texture_hu=12), Structure((kernel,), bright, DISC)]
    sacrum = [
        Block((0, heights[-1] + (6 + 26 * step) * scale, _bend(heights[-1], scale)[0] + (16 * step - 6) * scale),
              (22 * scale, 14 * scale, 16 * scale * (1 - 0.15 * step)), turn=0.55 + 0.1 * step, roundness=4)
        for step in (1, 2, 3)
    ]  # fmt: skip
    shell = 60 * gain
    return [
        Structure(tuple(canal), 880 * gain, texture_hu=20),
        Structure(tuple(cord[: ABOVE - 1]), 380 * gain, texture_hu=15),
        Structure(tuple(sacrum), bone, texture_hu=25),
        *discs,
        Structure(tuple(bones), shell, VERTEBRA),
        Structure(tuple(part.shrunk(1.2) for part in bones), bone, VERTEBRA, texture_hu=22 * gain),
    ]


SPINE = Anatomy(
    LabelSet.from_names(["vertebrae", "discs"], mirror=True),
    draw_spine,
    slices=15,
    modality="MR",
    axes="LIP",
    file_axes="PIL",
)
