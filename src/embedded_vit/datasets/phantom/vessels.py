"""Vessels with contrast agent on CT: thin branching bright tubes in the soft tissue of a limb."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedded_vit.datasets.phantom.anatomy import Anatomy, Body, Painting, paint, painted
from embedded_vit.datasets.phantom.branches import grown_tree
from embedded_vit.datasets.phantom.shapes import Blob, Shape, SlicePlane, Structure
from embedded_vit.labels import LabelSet

__all__ = ["VESSELS"]

VESSEL = 1


def draw_vessels(rng: np.random.Generator) -> Body:
    """Draw a limb with its vessels."""
    width, depth = float(rng.uniform(78, 105)), float(rng.uniform(66, 85))
    fat, muscle = float(rng.uniform(8, 20)), float(rng.normal(58, 6))
    trees: list[Shape] = []
    for _ in range(int(rng.integers(2, 4))):
        begin = (-110.0, float(rng.uniform(-0.4, 0.4)) * width, float(rng.uniform(-0.4, 0.4)) * depth)
        heading = (1.0, float(rng.normal(0, 0.12)), float(rng.normal(0, 0.12)))
        radius = float(rng.uniform(4.5, 6.5))
        trees += grown_tree(rng, begin, heading, radius_mm=radius, length_mm=52, forks=5)
    muscles = tuple(
        Blob((0, float(rng.uniform(-0.6, 0.6)) * width, float(rng.uniform(-0.6, 0.6)) * depth),
             (300, float(rng.uniform(12, 24)), float(rng.uniform(10, 20))), turn=float(rng.uniform(0, 3)), waves=0.08)
        for _ in range(9)
    )  # fmt: skip
    inside = Blob((0, 0, 0), (600, width - fat, depth - fat), waves=0.03)
    limb = (
        Structure((Blob((0, 0, 0), (600, width, depth)),), 5),
        Structure((Blob((0, 0, 0), (600, width - 2, depth - 2)),), float(rng.normal(-102, 5)), texture_hu=7),
        Structure((inside,), muscle - 14, texture_hu=16),
        Structure(muscles, muscle, texture_hu=9),
    )
    vessels = Structure(tuple(trees), float(rng.uniform(240, 420)), VESSEL, texture_hu=8)
    return Body(
        width_mm=2 * width,
        margin_mm=(8, 30),
        height_mm=(180, 215),
        lowest_mm=(-105, -90),
        noise=float(rng.uniform(8, 20)),
        render=partial(_render, limb, Structure((inside,), 0), vessels),
    )


def _render(
    limb: tuple[Structure, ...], inside: Structure, vessels: Structure, plane: SlicePlane, texture: NDArray[np.float32]
) -> Painting:
    """Paint one slice; vessels end at the fat under the skin."""
    hu, labels = painted(limb, plane, texture)
    within = np.zeros(hu.shape, bool)
    section = inside.inside(plane)
    if section is not None:
        within[section[0]] = section[1]
    paint((vessels,), plane, hu, labels, texture, within)
    return hu, labels


VESSELS = Anatomy(LabelSet.from_names(["vessels"]), draw_vessels)
