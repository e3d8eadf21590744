"""What a body part gives to the generator of phantoms, and how structures are painted into a slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedded_vit.datasets.phantom.shapes import SlicePlane, Structure
from embedded_vit.labels import LabelSet
from embedded_vit.volume import AIR_HU

__all__ = ["Anatomy", "Body", "Painting", "Range", "paint", "painted"]

GAS_HU = -950.0
Range = tuple[float, float]
# (rows, columns) float32 intensities and uint8 labels
Painting = tuple[NDArray[np.float32], NDArray[np.uint8]]


@dataclass(frozen=True)
class Body:
    """A patient of one anatomy, drawn at random.

    Attributes:
        width_mm: The side of a field of view that just holds the body part.
        margin_mm: The range of what is added to it.
        height_mm: The range of the length that all slices together cover.
        lowest_mm: The range of the place where they begin.
        noise: Standard deviation of the scanner's noise.
        render: Paints a slice from its place and the texture there, (rows, columns) of unit deviation.
    """

    width_mm: float
    margin_mm: Range
    height_mm: Range
    lowest_mm: Range
    noise: float
    render: Callable[[SlicePlane, NDArray[np.float32]], Painting]


@dataclass(frozen=True)
class Anatomy:
    """A body part that phantoms can have.

    Attributes:
        labels: Its structures.
        draw: Draws a patient.
        slices: The usual number of slices.
        modality: CT in HU, or MR in arbitrary units from 0.
        axes: Where slices, rows and columns run, as in `Volume.reoriented`; places in the body are in this order.
        file_axes: The axis order of a scanner's file: columns, rows, slices.
    """

    labels: LabelSet
    draw: Callable[[np.random.Generator], Body]
    slices: int = 48
    modality: Literal["CT", "MR"] = "CT"
    axes: str = "SLP"
    file_axes: str = "LPS"

    @property
    def intensity_range(self) -> tuple[int, int]:
        """The lowest and the highest number that the scanner stores."""
        return (-1024, 3071) if self.modality == "CT" else (0, 4095)


def paint(
    structures: tuple[Structure, ...],
    plane: SlicePlane,
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    texture: NDArray[np.float32],
    within: NDArray[np.bool_] | None = None,
) -> None:
    """Paint structures into a slice, later ones over earlier ones.

    Args:
        structures: What is painted.
        plane: The place of the slice.
        image, labels: (rows, columns), changed in place.
        texture: (rows, columns) of unit deviation.
        within: Where structures with `in_cavity` may be; None for everywhere.
    """
    for structure in structures:
        section = structure.inside(plane)
        if section is None:
            continue
        box, inside = section
        if structure.in_cavity and within is not None:
            inside &= within[box]
        filled = structure.intensity_hu + structure.texture_hu * texture[box]
        if structure.gas_before_mm is not None:
            filled = np.where(plane.posterior_mm[None, box[1]] < structure.gas_before_mm, GAS_HU, filled)
        np.copyto(image[box], filled, where=inside)
        np.copyto(labels[box], np.uint8(structure.label), where=inside)


def painted(
    structures: tuple[Structure, ...], plane: SlicePlane, texture: NDArray[np.float32], background: float = AIR_HU
) -> Painting:
    """Paint structures on an empty slice."""
    image, labels = np.full(texture.shape, background, np.float32), np.zeros(texture.shape, np.uint8)
    paint(structures, plane, image, labels, texture)
    return image, labels
