"""What of a case can be scored: not what is ignored or what nobody marked; regions beside structures.

Whatever stands in what is left out changes no figure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from embedded_vit.evaluation.protocol import Protocol, Score
from embedded_vit.labels import IGNORED, LabelSet
from embedded_vit.volume import LabelMap

__all__ = ["as_one", "scored", "without_ignored"]

EXCLUDED = Score(None, None, None, None)


def without_ignored(prediction: LabelMap, truth: LabelMap) -> tuple[LabelMap, LabelMap]:
    """Return two masks of one grid with background in both where the truth says nothing."""
    ignored = truth.array == IGNORED
    if not ignored.any():
        return prediction, truth
    background = np.uint8(0)
    return (
        replace(prediction, array=np.where(ignored, background, prediction.array)),
        replace(truth, array=np.where(ignored, background, truth.array)),
    )


def scored(
    protocol: Protocol,
    prediction: LabelMap,
    truth: LabelMap,
    labels: LabelSet,
    unlabelled: Collection[int],
    threads: int,
) -> tuple[tuple[Score, ...], tuple[Score, ...]]:
    """Score the structures of a case, and its regions.

    Args:
        protocol: How masks are compared.
        prediction, truth: Masks on one grid, without ignored voxels.
        labels: Structures and regions.
        unlabelled: Numbers of the structures that nobody marked: they are excluded, and regions that hold one.
        threads: Structures compared at the same time.
    """
    scores = protocol.score(prediction, truth, labels=len(labels.labels), threads=threads)
    scores = tuple(EXCLUDED if number in unlabelled else score for number, score in enumerate(scores, start=1))
    regions = []
    for region in labels.regions:
        if set(region.members) & set(unlabelled):
            regions.append(EXCLUDED)
        else:
            masks = [as_one(mask, region.members) for mask in (prediction, truth)]
            regions += protocol.score(*masks, labels=1, threads=threads)
    return scores, tuple(regions)


def as_one(mask: LabelMap, members: Sequence[int]) -> LabelMap:
    """Return a mask in which several structures are number 1, and the others background."""
    table = np.zeros(256, np.uint8)
    table[list(members)] = 1
    return replace(mask, array=table[mask.array])
