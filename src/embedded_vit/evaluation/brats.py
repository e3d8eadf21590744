"""The metrics of the BraTS challenges beside ours, where the structures and regions of a data set are theirs.

Their organisers score Dice and HD95 of whole tumour, tumour core and enhancing tumour. Up to 2022 a part that is in
neither mask scores 1 and 0; one that is in a single mask scores 0 and 373.13 mm, the diagonal of their scans. Our
protocol `strict` leaves the former out, and takes each scan's own diagonal for the latter, which is the same on scans
of theirs. Since 2023 every lesion is scored by itself (`lesions.py`).

Source: https://www.med.upenn.edu/cbica/brats2020/tasks.html (which metrics, which parts); for empty masks nnU-Net's
    repetition of the ranking, Isensee et al., 2011.00848, `Task082_BraTS_2020.py` of version 1.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from embedded_vit.evaluation.known_parts import as_one
from embedded_vit.evaluation.lesions import LesionScore, lesion_score
from embedded_vit.evaluation.protocol import Protocol
from embedded_vit.evaluation.results import Evaluation
from embedded_vit.evaluation.statistics import Estimate, summarise
from embedded_vit.labels import LabelSet
from embedded_vit.volume import LabelMap

__all__ = ["BRATS_RULE", "LESION_RULE", "brats_document", "brats_estimates", "brats_lesions", "lesion_estimates"]

BRATS_RULE = "BraTS up to 2022: in neither mask Dice 1 and HD95 0, in one alone Dice 0 and HD95 the scan's diagonal"
LESION_RULE = "BraTS since 2023: a mean over lesions; missed ones and false positives have Dice 0 and HD95 374 mm"
STRUCTURES = 3
WORDS = ("whole", "core", "enhanc")  # of the three parts, in the order in which the challenge has them


def brats_estimates(evaluation: Evaluation) -> dict[str, dict[str, Estimate]]:
    """Return part -> "dice" and "hd95" by the rules of BraTS; empty where the parts are not theirs.

    Lengths that are not in mm, and protocols other than `strict`, give nothing.
    """
    labels = evaluation.labels
    parts = _parts(labels)
    if parts is None or evaluation.protocol.name != "strict" or evaluation.unit != "mm":
        return {}
    found = {}
    for name, place in parts.items():
        scores = [(*case.scores, *case.regions)[place] for case in evaluation.cases]
        columns = {
            "dice": [1.0 if score.absent else score.dice for score in scores],
            "hd95": [0.0 if score.absent else score.hd95 for score in scores],
        }
        found[name] = _summaries(columns, evaluation.patients)
    return found


def brats_lesions(
    protocol: Protocol, prediction: LabelMap, truth: LabelMap, labels: LabelSet, unlabelled: Collection[int]
) -> dict[str, LesionScore]:
    """Return part -> the scores of its lesions in one case; nothing where `brats_estimates` gives nothing.

    Args:
        protocol: How masks are compared.
        prediction, truth: Masks on one grid, without ignored voxels.
        labels: Structures and regions.
        unlabelled: Numbers of the structures that nobody marked; a part that holds one is left out.
    """
    parts = _parts(labels)
    if parts is None or protocol.name != "strict" or protocol.unit(truth) != "mm":
        return {}
    members = [*((label.id,) for label in labels.labels), *(region.members for region in labels.regions)]
    found = {}
    for name, place in parts.items():
        if not set(members[place]) & set(unlabelled):
            masks = [as_one(mask, members[place]).array.astype(bool) for mask in (prediction, truth)]
            found[name] = lesion_score(masks[0], masks[1], truth.spacing_mm)
    return found


def lesion_estimates(evaluation: Evaluation) -> dict[str, dict[str, Estimate]]:
    """Return part -> "dice" and "hd95" over lesions, a mean over cases; empty where the parts are not theirs."""
    found = {}
    for name in brats_estimates(evaluation):
        scores = [case.lesions.get(name) for case in evaluation.cases]
        columns = {
            "dice": [None if score is None else score.dice for score in scores],
            "hd95": [None if score is None else score.hd95 for score in scores],
        }
        found[name] = _summaries(columns, evaluation.patients)
    return found


def _summaries(columns: dict[str, list[float | None]], patients: Sequence[str]) -> dict[str, Estimate]:
    return {
        metric: summarise(np.array(column, np.float64)[:, None], patients).overall for metric, column in columns.items()
    }


def brats_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return what `metrics.json` says of them; empty where there are none."""
    estimates = brats_estimates(evaluation)
    if not estimates:
        return {}
    lesions = {name: _filed(metrics) for name, metrics in lesion_estimates(evaluation).items()}
    for name, part in lesions.items():
        scores = [case.lesions[name] for case in evaluation.cases if name in case.lesions]
        for count in ("lesions", "missed", "false_positives"):
            part[count] = sum(getattr(score, count) for score in scores)
    parts = {name: _filed(metrics) for name, metrics in estimates.items()}
    return {"brats": {"rule": BRATS_RULE, **parts}, "brats_lesions": {"rule": LESION_RULE, **lesions}}


def _filed(metrics: dict[str, Estimate]) -> dict[str, Any]:
    return {
        metric: {"mean": each.mean, "interval_95": None if each.low is None else [each.low, each.high]}
        for metric, each in metrics.items()
    }


def _parts(labels: LabelSet) -> dict[str, int] | None:
    """Return the name of each part and its place among structures and then regions; None where one is missing."""
    names = (*labels.names, *(region.name for region in labels.regions))
    if len(labels.labels) != STRUCTURES or not labels.regions:
        return None
    found = {}
    for word in WORDS:
        # A region, where one is called so: "core" is in "necrotic core" too.
        place = next((place for place in reversed(range(len(names))) if word in names[place].lower()), None)
        if place is None or (word != "enhanc" and place < STRUCTURES):
            return None
        found[names[place]] = place
    return found if len(found) == len(WORDS) else None
