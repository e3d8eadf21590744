"""Phantom patients: labelled abdominal CT in HU, generated, the same bytes for the same seed.

They stand in for real data in the demo and in tests: eight organs in plausible places, shapes and intensities, with
fat, muscle, bowel, lungs, bones, a table, texture and noise around them. They look like an abdomen; a network trained
on them segments phantoms, not patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from embedded_vit.config import Config
from embedded_vit.datasets.phantom_anatomy import Patient, draw_patient
from embedded_vit.datasets.phantom_shapes import SlicePlane, Structure
from embedded_vit.volume import AIR_HU, LabelMap, Volume

__all__ = ["PhantomSettings", "make_phantom"]

LUNG_HU, GAS_HU, TABLE_HU, RIB_HU = -840.0, -950.0, 40.0, 450.0
RIB_DISTANCE_MM = 30.0
TEXTURE_MM = 9.0  # distance between the nodes of the slow mottling


class PhantomSettings(Config):
    """The size of phantoms."""

    size: int = Field(default=256, ge=32, le=1024, description="rows and columns")
    slices: int = Field(default=48, ge=4, le=512, description="over about 23 cm, from the pelvis to the heart")


def make_phantom(number: int, *, seed: int = 0, settings: PhantomSettings | None = None) -> tuple[Volume, LabelMap]:
    """Generate one patient.

    Args:
        number: Which patient of the seed.
        seed: Seeds everything that differs between patients.
        settings: Size of the volume.

    Returns:
        The scan (1, slices, size, size) int16 HU and its mask (slices, size, size) uint8 in 0..8, in training
        orientation, with the spacing that the patient's field of view gives.
    """
    settings = settings or PhantomSettings()
    rng = np.random.default_rng([seed, number])
    patient = draw_patient(rng)
    field_mm = 2 * patient.half_width_mm + float(rng.uniform(15, 70))
    height_mm = float(rng.uniform(215, 250))
    lowest_mm = float(rng.uniform(-125, -100))
    shift_mm = rng.normal(0, 5, 2)
    spacing_mm = field_mm / settings.size
    position = ((np.arange(settings.size) + 0.5) * spacing_mm - field_mm / 2).astype(np.float32)
    heights = lowest_mm + (np.arange(settings.slices) + 0.5) * height_mm / settings.slices
    texture = _texture(rng, heights, field_mm, settings.size)
    image = np.empty((settings.slices, settings.size, settings.size), np.int16)
    labels = np.zeros(image.shape, np.uint8)
    for index, height in enumerate(heights):
        plane = SlicePlane(float(height), position + np.float32(shift_mm[0]), position + np.float32(shift_mm[1]))
        hu, labels[index] = _render(patient, plane, texture[0] @ texture[1][index] @ texture[0].T)
        image[index] = np.clip(_scan(hu, patient.noise_hu, rng), -1024, 3071).round()
    affine = _affine(height_mm / settings.slices, spacing_mm)
    source = f"phantom {seed}-{number}"
    return Volume(image[None], affine, source=source), LabelMap(labels, affine, source=source)


def _affine(slice_mm: float, pixel_mm: float) -> NDArray[np.float64]:
    """Return the affine (4, 4): slices to superior, rows to the patient's left, columns to posterior."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = slice_mm, -pixel_mm, -pixel_mm, 1
    return affine


def _texture(
    rng: np.random.Generator, heights: NDArray[np.float64], field_mm: float, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return slow random mottling of unit deviation: interpolation (size, nodes), nodes (slices, nodes, nodes)."""
    nodes = int(np.ceil(field_mm / TEXTURE_MM)) + 1
    place = np.linspace(0, nodes - 1, size)[:, None] - np.arange(nodes)[None, :]
    interpolation = np.maximum(0, 1 - np.abs(place)).astype(np.float32)
    values = rng.standard_normal((len(heights) + 1, nodes, nodes)).astype(np.float32)
    return interpolation, values[1:] + values[:-1]  # interpolation and the sum of two leave a deviation of about one


def _render(
    patient: Patient, plane: SlicePlane, texture: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Paint one slice, later structures over earlier ones: HU (rows, columns) float32 and labels uint8."""
    hu = np.full(texture.shape, AIR_HU, np.float32)
    labels = np.zeros(texture.shape, np.uint8)
    cavity = _paint_trunk(patient, plane, hu, texture)
    _paint(patient.before_lungs, plane, hu, labels, texture, cavity)
    lungs = cavity & (plane.superior_mm > _diaphragm(patient, plane))
    hu[lungs] = LUNG_HU + 40 * texture[lungs]
    labels[lungs] = 0
    _paint(patient.after_lungs, plane, hu, labels, texture, cavity)
    return hu, labels


def _paint(
    structures: tuple[Structure, ...],
    plane: SlicePlane,
    hu: NDArray[np.float32],
    labels: NDArray[np.uint8],
    texture: NDArray[np.float32],
    cavity: NDArray[np.bool_],
) -> None:
    for structure in structures:
        section = structure.inside(plane)
        if section is None:
            continue
        box, inside = section
        if structure.in_cavity:
            inside &= cavity[box]
        filled = structure.intensity_hu + structure.texture_hu * texture[box]
        if structure.gas_before_mm is not None:
            filled = np.where(plane.posterior_mm[None, box[1]] < structure.gas_before_mm, GAS_HU, filled)
        np.copyto(hu[box], filled, where=inside)
        np.copyto(labels[box], np.uint8(structure.label), where=inside)


def _paint_trunk(
    patient: Patient, plane: SlicePlane, hu: NDArray[np.float32], texture: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Paint table, skin, fat, muscular wall and ribs; return the cavity inside the wall."""
    left, posterior = plane.left_mm[:, None], plane.posterior_mm[None, :]
    table = patient.half_depth_mm + 4 + (left / 230) ** 2 * -38
    thickness_mm = max(2.0, 1.2 * float(plane.posterior_mm[1] - plane.posterior_mm[0]))
    for below_mm in (0, 26 * (1 - (left / 210) ** 2).clip(0)):  # the table's top and bottom
        hu[np.abs(posterior - table - below_mm) < thickness_mm / 2] = TABLE_HU
    narrowing = 1 - 0.05 * ((plane.superior_mm + 20) / 120) ** 2  # towards chest and pelvis

    def level(margin_mm: float) -> NDArray[np.float32]:
        """Return numbers below 1 inside the trunk's outline, moved inwards: a superellipse, flat in front."""
        half_width = (patient.half_width_mm - margin_mm) * narrowing
        half_depth = patient.half_depth_mm - 0.75 * margin_mm
        return np.abs(left / half_width) ** 2.3 + np.abs(posterior / half_depth) ** 2.3

    skin, outer = level(0), level(patient.fat_mm)
    middle, inner = level(patient.fat_mm + patient.wall_mm / 2), level(patient.fat_mm + patient.wall_mm)
    np.copyto(hu, patient.fat_hu + 6 * texture, where=skin < 1)
    hu[(skin < 1) & (level(2) > 1)] = 0.0
    wall = (outer < 1) & (inner > 1)
    np.copyto(hu, patient.muscle_hu + 10 * texture, where=wall)
    cavity = inner < 1
    if plane.superior_mm > -30:
        angle = np.arctan2(left / patient.half_width_mm, posterior / patient.half_depth_mm)
        ribs = np.sin(2 * np.pi * plane.superior_mm / RIB_DISTANCE_MM + 9 * np.abs(angle) + patient.rib_phase) > 0.62
        hu[ribs & wall & (np.abs(middle - 1) < 0.075)] = RIB_HU
    return cavity


def _diaphragm(patient: Patient, plane: SlicePlane) -> NDArray[np.float32]:
    """Return the height of the diaphragm in mm over every pixel: two domes, lowest at the wall behind."""
    left, posterior = plane.left_mm[:, None], plane.posterior_mm[None, :]
    right_dome = patient.diaphragm_mm - ((left + 62) / 72) ** 2 * 42 - ((posterior + 4) / 88) ** 2 * 62
    left_dome = patient.diaphragm_mm - 12 - ((left - 62) / 72) ** 2 * 42 - ((posterior + 4) / 88) ** 2 * 62
    return np.maximum(right_dome, left_dome)


def _scan(hu: NDArray[np.float32], noise_hu: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the image as a scanner gives it: softened edges, and noise with a little correlation."""
    softened = hu.copy()
    softened[1:-1] += 0.5 * (hu[:-2] + hu[2:]) - hu[1:-1] * 0.5
    softened[1:-1] /= 1.5
    hu = softened.copy()
    hu[:, 1:-1] += 0.5 * (softened[:, :-2] + softened[:, 2:]) - softened[:, 1:-1] * 0.5
    hu[:, 1:-1] /= 1.5
    noise = rng.standard_normal((hu.shape[0] + 1, hu.shape[1] + 1), np.float32)
    return hu + np.float32(noise_hu / np.sqrt(2)) * (noise[1:, 1:] + noise[:-1, :-1])
