"""The metrics of the BraTS challenges beside ours, where the structures and regions of a data set are theirs.

Their organisers score Dice and HD95 of whole tumour, tumour core and enhancing tumour. A part that is in neither mask
scores 1 and 0; one that is in a single mask scores 0 and 373.13 mm, the diagonal of their scans. Our protocol `strict`
leaves the former out, and takes each scan's own diagonal for the latter, which is the same on scans of theirs. These
are the rules up to 2022; since 2023 the challenge scores every lesion by itself, which is not done here.

Source: Bakas et al., 1811.02629, section 2; Baid et al., 2107.02314, section 4, and the evaluation of its platform.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from embedded_vit.evaluation.results import Evaluation
from embedded_vit.evaluation.statistics import Estimate, summarise
from embedded_vit.labels import LabelSet

__all__ = ["BRATS_RULE", "brats_document", "brats_estimates"]

BRATS_RULE = "BraTS up to 2022: in neither mask Dice 1 and HD95 0, in one alone Dice 0 and HD95 the scan's diagonal"
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
        found[name] = {
            metric: summarise(np.array(column, np.float64)[:, None], evaluation.patients).overall
            for metric, column in columns.items()
        }
    return found


def brats_document(evaluation: Evaluation) -> dict[str, Any]:
    """Return what `metrics.json` says of them; empty where there are none."""
    estimates = brats_estimates(evaluation)
    if not estimates:
        return {}
    parts = {
        name: {
            metric: {"mean": each.mean, "interval_95": None if each.low is None else [each.low, each.high]}
            for metric, each in metrics.items()
        }
        for name, metrics in estimates.items()
    }
    return {"brats": {"rule": BRATS_RULE, **parts}}


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
