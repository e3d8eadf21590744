"""Scores of every lesion by itself, as BraTS has them since 2023.

What of the truth grows together within three voxels is one lesion. The connected pieces of the prediction that reach
into the grown lesion are its prediction. A piece that reaches into none is a false positive and counts as a lesion with
Dice 0 and HD95 374 mm, as a lesion without a piece does. Lesions of up to 50 mm3 do not count, whatever was predicted
there.

Source: Saluja et al., BraTS-2023-Metrics (`brats_metrics.py`, the challenge BraTS-GLI), and the organisers' outline,
    https://www.synapse.org/Synapse:syn51156910/discussion/threadId=10357. Their scans have voxels of 1 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, generate_binary_structure, label

from embedded_vit.evaluation.metrics import hausdorff_95_by_area

__all__ = ["LesionScore", "lesion_score"]

GROWN = 3  # voxels
SMALLEST_MM3 = 50.0  # a lesion that is not larger does not count
PENALTY_MM = 374.0  # the diagonal of the challenge's scans, rounded up
EDGES = generate_binary_structure(3, 2)  # neighbours that share a face or an edge
CORNERS = generate_binary_structure(3, 3)  # or a corner: what is connected


@dataclass(frozen=True)
class LesionScore:
    """The scores of one part of the tumour in one case.

    Attributes:
        dice: The mean over lesions and false positives, in [0, 1].
        hd95: Likewise, in mm.
        lesions: How many lesions count.
        missed: How many of them have no prediction.
        false_positives: Pieces of the prediction that belong to no lesion, small ones included.
    """

    dice: float
    hd95: float
    lesions: int
    missed: int
    false_positives: int


def lesion_score(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> LesionScore:
    """Score every lesion of a case by itself; 1 and 0 where there is none and none is predicted.

    Args:
        prediction, truth: (slices, rows, columns) bool.
        spacing_mm: Distance between neighbouring slices, rows and columns.
    """
    prediction, truth = _cropped(prediction, truth)
    grown, _ = label(binary_dilation(truth, EDGES, iterations=GROWN), CORNERS)
    pieces, piece_count = label(prediction, CORNERS)
    places, places_of_pieces = find_objects(grown), find_objects(pieces)
    seen: set[int] = set()
    dice: list[float] = []
    hd95: list[float] = []
    missed = 0
    for number, place in enumerate(places, start=1):
        own = {int(piece) for piece in np.unique(pieces[place][grown[place] == number])} - {0}
        seen |= own
        box = _hull([place, *(places_of_pieces[piece - 1] for piece in own)])
        lesion = (grown[box] == number) & truth[box]
        if np.count_nonzero(lesion) * float(np.prod(spacing_mm)) <= SMALLEST_MM3:
            continue
        predicted = np.isin(pieces[box], list(own))
        common = int(np.count_nonzero(predicted & lesion))
        dice.append(2 * common / int(np.count_nonzero(predicted) + np.count_nonzero(lesion)))
        hd95.append(hausdorff_95_by_area(predicted, lesion, spacing_mm) if own else PENALTY_MM)
        missed += not own
    false_positives = piece_count - len(seen)
    scored = len(dice) + false_positives
    if not scored:
        return LesionScore(1.0, 0.0, 0, 0, 0)
    return LesionScore(
        sum(dice) / scored,
        (sum(hd95) + PENALTY_MM * false_positives) / scored,
        len(dice),
        missed,
        false_positives,
    )


def _hull(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """Return the smallest box around boxes."""
    return tuple(
        slice(min(each.start for each in along), max(each.stop for each in along)) for along in zip(*boxes, strict=True)
    )


def _cropped(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return both without what is far from either, as the scans are a hundred times as large as a tumour."""
    (box,) = find_objects((prediction | truth).astype(np.int8), max_label=1)
    if box is None:
        return prediction[:1, :1, :1], truth[:1, :1, :1]
    near = tuple(slice(max(0, along.start - GROWN), along.stop + GROWN) for along in box)
    return prediction[near], truth[near]
