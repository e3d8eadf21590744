"""The abdomen on CT: eight organs between the pelvis and the heart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedded_vit.datasets.phantom.abdomen_organs import Patient, draw_patient
from embedded_vit.datasets.phantom.anatomy import Anatomy, Body, Painting, paint
from embedded_vit.datasets.phantom.shapes import SlicePlane
from embedded_vit.datasets.phantom.trunk import LUNG_HU
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.volume import AIR_HU

__all__ = ["ABDOMEN"]


def draw_abdomen(rng: np.random.Generator) -> Body:
    """Draw a patient's abdomen."""
    patient = draw_patient(rng)
    return Body(
        width_mm=2 * patient.trunk.half_width_mm,
        margin_mm=(15, 70),
        height_mm=(215, 250),
        lowest_mm=(-125, -100),
        noise=patient.noise_hu,
        render=_Renderer(patient),
    )


@dataclass(frozen=True)
class _Renderer:
    patient: Patient

    def __call__(self, plane: SlicePlane, texture: NDArray[np.float32]) -> Painting:
        """Paint one slice: the trunk, organs, lungs that cut them off, and what the lungs do not cut off."""
        patient = self.patient
        hu = np.full(texture.shape, AIR_HU, np.float32)
        labels = np.zeros(texture.shape, np.uint8)
        cavity = patient.trunk.paint(plane, hu, texture)
        paint(patient.before_lungs, plane, hu, labels, texture, cavity)
        lungs = cavity & (plane.superior_mm > patient.trunk.diaphragm(plane))
        hu[lungs] = LUNG_HU + 40 * texture[lungs]
        labels[lungs] = 0
        paint(patient.after_lungs, plane, hu, labels, texture, cavity)
        return hu, labels


ABDOMEN = Anatomy(SYNAPSE_LABELS, draw_abdomen)
