"""NaN and infinity in voxels, weights, logits and spacings: an error, never a label."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from artifact_fixtures import threshold_graph, threshold_manifest
from onnx import numpy_helper

from embedded_vit.artifact.manifest import sealed
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.predict.predictor import Predictor
from faults.row import Outcome
from faults.small_scans import AFFINE, box, model, write

VALUES = (float("nan"), float("inf"), float("-inf"))


def voxel(folder: Path, value: float, random: np.random.Generator) -> tuple[Path, Path]:
    """A scan of which one voxel is no number."""
    array = box(1).astype(np.float32)
    array[tuple(random.integers(0, array.shape))] = value
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), folder / "scan.nii")
    return model(folder), folder / "scan.nii"


def scaling(folder: Path, value: float, random: np.random.Generator) -> tuple[Path, Path]:
    """A scan with a spacing, or a place in the world, that is no number."""
    content = bytearray(nibabel.Nifti1Image(box(1), AFFINE).to_bytes())
    fields = (80, 84, 88, 280, 300, 320, 292, 308)  # pixdim[1] to [3], and numbers of the sform
    offset = int(random.choice(fields))
    content[offset : offset + 4] = struct.pack("<f", value)
    if offset < 100:
        content[252:256] = struct.pack("<hh", 0, 0)  # without qform and sform the spacing counts
    (folder / "scan.nii").write_bytes(content)
    return model(folder), folder / "scan.nii"


def weight(folder: Path, value: float, random: np.random.Generator) -> tuple[Path, Path]:
    """A model with a weight that is no number, so that its logits are none."""
    del random
    graph = threshold_graph()
    graph.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([value], np.float32), "minus_one"))
    content = graph.SerializeToString()
    path = folder / "model.onnx"
    path.write_bytes(sealed(content, threshold_manifest(content)))
    return path, write(folder / "scan.nii.gz", 1)


def faults(count: int) -> Iterator[tuple[object, float, int]]:
    """Yield what is spoilt, by what, and a seed."""
    for number in range(count):
        yield (voxel, scaling, weight)[number % 3], VALUES[number // 3 % 3], number


def spoilt(count: int, folder: Path) -> Outcome:
    """Predict with one number spoilt at a time."""
    outcome = Outcome()
    for spoil, value, seed in faults(count):
        artifact, scan = spoil(folder, value, np.random.default_rng(seed))  # type: ignore[operator]
        what = "a mask"
        try:
            Predictor.load(artifact, threads=1).predict(scan)
            good = False
        except EmbeddedVitError as error:
            good, what = "\n" not in str(error), str(error)
        except Exception as error:
            good, what = False, f"{type(error).__name__}: {error!s:.100}"
        name = getattr(spoil, "__name__", "")
        outcome.count(good=good, message=f"{value} in a {name}, seed {seed}: {what}")
    return outcome
