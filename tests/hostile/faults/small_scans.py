"""Small scans with a bright box, and a model that finds it: what most campaigns predict."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from artifact_fixtures import threshold_graph, threshold_manifest

from embedded_vit.artifact.manifest import sealed
from embedded_vit.predict.predictor import Predictor

AFFINE = np.diag([1.0, 1, 3, 1])


def model(folder: Path) -> Path:
    """Write a model that labels what is brighter than the middle of the window."""
    graph = threshold_graph().SerializeToString()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(sealed(graph, threshold_manifest(graph)))
    return folder / "model.onnx"


def predictor(folder: Path) -> Predictor:
    """Load that model."""
    return Predictor.load(model(folder), threads=1)


def box(number: int) -> np.ndarray:
    """Return (32, 32, 6) HU: air, and a box whose size tells the number."""
    array = np.full((32, 32, 6), -1000, np.int16)
    array[4 : 12 + number % 16, 6 : 12 + number // 16 % 16, 1:4] = 400
    return array


def write(path: Path, number: int) -> Path:
    """Write that scan as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(box(number), AFFINE), path)
    return path


def write_many(folder: Path, count: int) -> Path:
    """Write a folder of scans, `0.nii.gz` and so on."""
    for number in range(count):
        write(folder / f"{number}.nii.gz", number)
    return folder
