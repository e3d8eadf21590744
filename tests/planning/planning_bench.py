"""Cases with known figures, and clocks that tell a given time, for tests of decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.labels import LabelSet
from embedded_vit.planning.fingerprint import Fingerprint, fingerprint_of
from embedded_vit.planning.pace import Pace
from embedded_vit.planning.planning import Clocks
from embedded_vit.volume import LabelMap, Volume

FAST = Pace(base=1e-4, pixel=1e-6)  # 16 ms for a slice of 128 x 128 pixels
CLOCKS = Clocks(pace=lambda small, large: FAST, latency_ms=lambda config: (config.network.image_size / 64) ** 2)


@dataclass(frozen=True)
class Made(DataSet):
    """Cases in memory: name -> array and mask, (superior, left, posterior)."""

    arrays: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    spacing: tuple[float, float, float] | None = (3.0, 1.0, 1.0)

    def affine(self) -> np.ndarray:
        upwards, leftwards, backwards = self.spacing or (1.0, 1.0, 1.0)
        return np.array([[0, -leftwards, 0, 0], [0, 0, -backwards, 0], [upwards, 0, 0, 0], [0, 0, 0, 1]])

    def read_volume(self, case: Case) -> Volume:
        array = self.arrays[case.name][0]
        array = array if array.ndim == 4 else array[None]
        return Volume(array, self.affine(), spacing_known=self.spacing is not None, source=case.name)

    def read_labels(self, case: Case) -> LabelMap:
        return LabelMap(
            self.arrays[case.name][1], self.affine(), spacing_known=self.spacing is not None, source=case.name
        )


def made(
    arrays: list[tuple[np.ndarray, np.ndarray]],
    *,
    modality: Any = "CT",
    names: tuple[str, ...] = ("ball",),
    spacing: tuple[float, float, float] | None = (3.0, 1.0, 1.0),
    channels: tuple[str, ...] | None = None,
) -> Made:
    """A data set of these arrays and masks."""
    by_name = {f"case{number:02d}": pair for number, pair in enumerate(arrays)}
    cases = tuple(Case(name, name) for name in by_name)
    labels = LabelSet.from_names(names)
    return Made(Path("made"), "made", modality, channels or (modality,), labels, cases, arrays=by_name, spacing=spacing)


def seen(data_set: DataSet) -> Fingerprint:
    """The fingerprint of all cases."""
    return fingerprint_of(data_set, [case.name for case in data_set.cases])


def ball(
    shape: tuple[int, int, int], middle: tuple[float, float, float], radius: float, spacing: tuple[float, float, float]
) -> np.ndarray:
    """Whether a voxel lies in a ball; lengths in mm."""
    grids = np.meshgrid(*(np.arange(length) * step for length, step in zip(shape, spacing, strict=True)), indexing="ij")
    return sum((grid - at) ** 2 for grid, at in zip(grids, middle, strict=True)) <= radius**2
