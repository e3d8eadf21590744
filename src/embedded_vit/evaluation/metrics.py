"""Overlap and surface distances between two masks of one scan, label by label.

The protocol (`protocol.py`) decides the score of a missed structure and of a false positive.

The border of a mask is all its voxels that share a face with a voxel outside it; beyond the array is outside.
The surface distances of two masks are, for each border voxel of either mask, the distance to the nearest border voxel
of the other. They equal those of medpy with `connectivity=1` up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects
from scipy.spatial import cKDTree

from embedded_vit.evaluation.surface_area import Distances, hd95_by_area, nsd_by_area
from embedded_vit.volume import LENGTH_ROUNDING, border

__all__ = [
    "Comparison",
    "compare_masks",
    "hausdorff_95",
    "hausdorff_95_by_area",
    "normalised_surface_dice",
    "surface_distances",
]

BoundingBox = tuple[slice, ...]

# Two methods give the same distances. The time of a tree search grows with the border voxels, and is ten times longer
# where the borders are far apart. The time of a distance transform grows with the voxels of the box. In a box that the
# masks fill, both take the same time at this Dice; in other boxes, at about this ratio of voxels to border voxels.
CLOSE_DICE = 0.85
SPARSE_VOXELS_PER_BORDER_VOXEL = 40


@dataclass(frozen=True)
class Comparison:
    """One structure in a prediction and in the truth.

    Attributes:
        prediction_voxels, truth_voxels, common_voxels: Sizes of the two masks and of their intersection.
        hausdorff_95: In the unit of the spacing; None unless both masks hold a voxel.
        surface_dice: NSD in [0, 1]; None unless both masks hold a voxel.
        surface_dice_by_area: NSD as the surface-distance package defines it; None likewise.
    """

    prediction_voxels: int
    truth_voxels: int
    common_voxels: int
    hausdorff_95: float | None
    surface_dice: float | None
    surface_dice_by_area: float | None = None

    @property
    def dice(self) -> float | None:
        """The Dice coefficient, 2 |A and B| / (|A| + |B|); None when both masks are empty."""
        total = self.prediction_voxels + self.truth_voxels
        return 2 * self.common_voxels / total if total else None

    @property
    def jaccard(self) -> float | None:
        """The Jaccard index, |A and B| / |A or B|; None when both masks are empty."""
        union = self.prediction_voxels + self.truth_voxels - self.common_voxels
        return self.common_voxels / union if union else None


def compare_masks(
    prediction: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    *,
    labels: int,
    spacing: Sequence[float],
    tolerance: float,
    threads: int = 2,
) -> tuple[Comparison, ...]:
    """Compare every structure of two label maps.

    90 x 512 x 512 voxels with eight organs take less than a second.

    Args:
        prediction, truth: (slices, rows, columns) uint8 on one grid, 0 is background. A single slice is measured in its
            plane.
        labels: The number of structures; they are numbered from 1.
        spacing: Distance between neighbouring slices, rows and columns, in mm (or 1, 1, 1 for voxels).
        tolerance: Tolerance of the NSD, in the unit of the spacing.
        threads: Structures compared at the same time.

    Returns:
        One comparison for each structure, in the order of their numbers.

    Raises:
        ValueError: The arrays differ in shape.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, truth {truth.shape}")
    if prediction.ndim == 3 and 1 in prediction.shape:  # a single slice, or a picture: its borders are lines
        axis = prediction.shape.index(1)
        prediction, truth = prediction.squeeze(axis), truth.squeeze(axis)
        spacing = [step for place, step in enumerate(spacing) if place != axis]
    prediction_boxes = find_objects(prediction, max_label=labels)
    truth_boxes = find_objects(truth, max_label=labels)

    def compare_label(label: int) -> Comparison:
        box = _union(prediction_boxes[label - 1], truth_boxes[label - 1])
        if box is None:
            return Comparison(0, 0, 0, None, None)
        return _compare_structure(prediction[box] == label, truth[box] == label, spacing, tolerance)

    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        return tuple(pool.map(compare_label, range(1, labels + 1)))


def surface_distances(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Return the distance of each border voxel of either mask to the nearest border voxel of the other.

    Args:
        prediction, truth: bool, one shape, neither of them empty.
        spacing: Distance between neighbouring voxels along each axis.

    Returns:
        (border voxels of both,) float64 in the unit of the spacing, the prediction's first.
    """
    prediction_border, truth_border = border(prediction), border(truth)
    measure = _faster_way(prediction, truth, int(np.count_nonzero(prediction_border) + np.count_nonzero(truth_border)))
    return measure(prediction_border, truth_border, np.asarray(spacing, np.float64))


def _faster_way(prediction: NDArray[np.bool_], truth: NDArray[np.bool_], border_voxels: int) -> Distances:
    """Return the method that is faster for two masks."""
    mask_voxels = np.count_nonzero(prediction) + np.count_nonzero(truth)
    close = 2 * np.count_nonzero(prediction & truth) >= CLOSE_DICE * mask_voxels
    sparse = prediction.size > SPARSE_VOXELS_PER_BORDER_VOXEL * border_voxels
    return _distances_by_tree if close or sparse else _distances_by_transform


def hausdorff_95(distances: NDArray[np.float64]) -> float:
    """Return HD95: the 95th percentile of the surface distances of both masks together, as medpy's `hd95`."""
    return float(np.percentile(distances, 95))


def hausdorff_95_by_area(prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """Return HD95 as DeepMind's `surface-distance` defines it: the longer of both ways, weighted by area.

    Args:
        prediction, truth: bool, one shape, neither of them empty.
        spacing: Distance between neighbouring voxels along each axis.
    """
    voxels = int(np.count_nonzero(border(prediction)) + np.count_nonzero(border(truth)))
    return hd95_by_area(prediction, truth, spacing, _faster_way(prediction, truth, voxels))


def normalised_surface_dice(distances: NDArray[np.float64], tolerance: float) -> float:
    """Return NSD: the share of the border voxels of both masks that lie within the tolerance of the other border.

    A distance that is longer than the tolerance by rounding of the spacing, up to a ten-thousandth, lies within it.
    All border voxels count the same. `nsd_by_area` weights surfaces by their area, as DeepMind's `surface-distance`
    does, so the two differ a little (see `docs/metrics.md`).

    Source: Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck anatomy",
        1809.04430, there called surface DSC.
    """
    return float(np.mean(distances <= tolerance * (1 + LENGTH_ROUNDING)))


def _compare_structure(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float], tolerance: float
) -> Comparison:
    predicted, true, common = (int(np.count_nonzero(mask)) for mask in (prediction, truth, prediction & truth))
    if not predicted or not true:
        return Comparison(predicted, true, common, None, None)
    distances = surface_distances(prediction, truth, spacing)
    by_area = nsd_by_area(
        *(prediction, truth, spacing, tolerance), _faster_way(prediction, truth, border_voxels=len(distances))
    )
    nsd = normalised_surface_dice(distances, tolerance)
    return Comparison(predicted, true, common, hausdorff_95(distances), nsd, by_area)


def _union(first: BoundingBox | None, second: BoundingBox | None) -> BoundingBox | None:
    """Return the smallest box around both; None stands for no box."""
    if first is None or second is None:
        return first or second
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def _distances_by_tree(
    first: NDArray[np.bool_], second: NDArray[np.bool_], steps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Measure distances from the first border to the second and back; fast for near borders in a large box."""
    points = np.argwhere(first), np.argwhere(second)  # (voxels, axes)
    distances = []
    for these, others in (points, points[::-1]):
        _, nearest = cKDTree(others * steps).query(these * steps)
        # From whole numbers, so that a distance of exactly the tolerance is that.
        distances.append(np.sqrt(np.sum(((others[nearest] - these) * steps) ** 2, axis=1)))
    return np.concatenate(distances)


def _distances_by_transform(
    first: NDArray[np.bool_], second: NDArray[np.bool_], steps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Measure distances from the first border to the second and back; fast for far borders that fill their box."""
    distances = []
    for points, targets in ((first, second), (second, first)):
        # (axes, slices, rows, columns): the nearest target of each voxel; distances are taken only where needed.
        nearest: NDArray[Any] = distance_transform_edt(
            ~targets, sampling=steps, return_distances=False, return_indices=True
        )
        where = np.nonzero(points)
        squares = [((nearest[axis][where] - where[axis]) * steps[axis]) ** 2 for axis in range(points.ndim)]
        distances.append(np.sqrt(np.sum(squares, axis=0)))
    return np.concatenate(distances)
