"""Phantom patients: labelled scans, generated, the same bytes for the same seed.

They stand in for real data in the demo and in tests. The abdomen has eight organs in plausible places, shapes and
intensities, with fat, muscle, bowel, lungs, bones, a table, texture and noise around them; the other anatomies are
simpler. They look like their body part; a network trained on them segments phantoms, not patients.
"""

from __future__ import annotations

import nibabel.orientations as orientations
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.datasets.phantom.anatomies import ANATOMIES, AnatomyName
from embedded_vit.datasets.phantom.scanner import scanned, slow_texture
from embedded_vit.datasets.phantom.shapes import SlicePlane
from embedded_vit.volume import LabelMap, Volume

__all__ = ["PhantomSettings", "make_phantom"]


class PhantomSettings(Config):
    """The size and the body part of phantoms."""

    size: int = Field(default=256, ge=32, le=1024, description="rows and columns")
    slices: int | None = Field(default=None, ge=4, le=512, description="None: 48, and 15 of the spine")
    anatomy: AnatomyName = Field(default="abdomen", description="the body part")

    @property
    def slice_count(self) -> int:
        """The number of slices, which the anatomy gives where nobody asks for another."""
        return self.slices or ANATOMIES[self.anatomy].slices


def make_phantom(number: int, *, seed: int = 0, settings: PhantomSettings | None = None) -> tuple[Volume, LabelMap]:
    """Generate one patient.

    Args:
        number: Which patient of the seed.
        seed: Seeds everything that differs between patients.
        settings: Size of the volume, and the body part.

    Returns:
        The scan (1, slices, size, size) int16, in HU for CT, and its mask (slices, size, size) uint8, with the spacing
        that the patient's field of view gives. Axes run as `Anatomy.axes` says: to superior, left and posterior
        (training orientation), and for the sagittal spine to left, inferior and posterior.
    """
    settings = settings or PhantomSettings()
    anatomy, slices = ANATOMIES[settings.anatomy], settings.slice_count
    rng = np.random.default_rng([seed, number])
    body = anatomy.draw(rng)
    field_mm = body.width_mm + float(rng.uniform(*body.margin_mm))
    height_mm = float(rng.uniform(*body.height_mm))
    lowest_mm = float(rng.uniform(*body.lowest_mm))
    shift_mm = rng.normal(0, 5, 2)
    spacing_mm = field_mm / settings.size
    position = ((np.arange(settings.size) + 0.5) * spacing_mm - field_mm / 2).astype(np.float32)
    heights = lowest_mm + (np.arange(slices) + 0.5) * height_mm / slices
    interpolation, nodes = slow_texture(rng, slices, field_mm, settings.size)
    image = np.empty((slices, settings.size, settings.size), np.int16)
    labels = np.zeros(image.shape, np.uint8)
    for index, height in enumerate(heights):
        plane = SlicePlane(float(height), position + np.float32(shift_mm[0]), position + np.float32(shift_mm[1]))
        painted, labels[index] = body.render(plane, interpolation @ nodes[index] @ interpolation.T)
        image[index] = np.clip(scanned(painted, body.noise, rng), *anatomy.intensity_range).round()
    affine = _affine(anatomy.axes, height_mm / slices, spacing_mm)
    source = f"phantom {seed}-{number}"
    return Volume(image[None], affine, source=source), LabelMap(labels, affine, source=source)


def _affine(axes: str, slice_mm: float, pixel_mm: float) -> NDArray[np.float64]:
    """Return the affine (4, 4) of slices, rows and columns that run to `axes`."""
    affine = np.zeros((4, 4))
    for axis, (world_axis, direction) in enumerate(orientations.axcodes2ornt(tuple(axes))):
        affine[int(world_axis), axis] = direction * (slice_mm if axis == 0 else pixel_mm)
    affine[3, 3] = 1
    return affine
