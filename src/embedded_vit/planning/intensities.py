"""Which intensities a network tells apart: a window in HU, percentiles or z-scores of each scan, or fixed ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.planning.case_figures import QUANTILES, StructureFigures
from embedded_vit.planning.decision import Decision
from embedded_vit.planning.fingerprint import Fingerprint
from embedded_vit.preprocessing import MR_PERCENTILES

__all__ = ["choose_intensities"]

NARROWEST_HU = 100.0  # a window that shows noise alone teaches nothing of edges
SOFT_SHARE = 0.05  # of the window: a structure whose middle half is narrower drowns in a window made for bone
Z_SCORE_REACH = 3.0  # standard deviations on either side of the mean
BETTER = 0.8  # of the spread between cases: by so much z-scores must agree better
AS_THEY_ARE = ("nonorm", "no_norm", "none", "rescale_to_0_1", "rescale0_1", "rgb_to_0_1", "rgb")  # names of nnU-Net
Z_SCORE_NAMES = ("zscore", "z_score")


def choose_intensities(fingerprint: Fingerprint) -> Decision[Mapping[str, Any]]:
    """Return the settings of `Preprocessing` that say which intensities become 0 and 1."""
    names = [name.lower().replace("-", "_") for name in fingerprint.data_set.channels]
    if fingerprint.data_set.modality == "picture":
        return Decision({}, "from black to white, as the bit depth of the pictures has them")
    if fingerprint.data_set.modality == "CT":
        return _window(fingerprint)
    if all(name in AS_THEY_ARE for name in names):
        return _fixed(fingerprint)
    if all(name in Z_SCORE_NAMES for name in names):
        return Decision({"deviations": Z_SCORE_REACH}, "z-scores, as the names of the channels say")
    return _of_each_scan(fingerprint)


def _structures(fingerprint: Fingerprint) -> dict[str, list[StructureFigures]]:
    """Return structure -> its figures in every case that has it."""
    found: dict[str, list[StructureFigures]] = {}
    for case in fingerprint.figures:
        for name, structure in case.structures.items():
            found.setdefault(name, []).append(structure)
    return found


def _quantiles(figures: list[StructureFigures]) -> NDArray[np.float64]:
    """Return the median over cases, for the first channel: (quantiles,)."""
    median: NDArray[np.float64] = np.median([each.quantiles[0] for each in figures], axis=0)
    return median


def _window(fingerprint: Fingerprint) -> Decision[Mapping[str, Any]]:
    """Choose the window of a CT from its labelled voxels.

    Every structure counts alike, whatever its volume, with the median over cases of its percentiles 0.5 and 99.5.
    """
    quantiles = {name: _quantiles(figures) for name, figures in _structures(fingerprint).items()}
    quarter, three_quarters = QUANTILES.index(25), QUANTILES.index(75)
    low, high = min(q[0] for q in quantiles.values()), max(q[-1] for q in quantiles.values())
    soft = [q for q in quantiles.values() if q[three_quarters] - q[quarter] < SOFT_SHARE * (high - low)]
    others = [name for name, q in quantiles.items() if not any(q is each for each in soft)]
    reason = "0.5 and 99.5 % of the labelled voxels"
    if soft and others:
        # A bone is told from soft tissue at 400 HU as well as at 1700.
        low = min(*(q[0] for q in soft), *(quantiles[name][three_quarters] for name in others))
        high = max(*(q[-1] for q in soft), *(quantiles[name][quarter] for name in others))
        reason += f" of soft structures; {', '.join(others)} may saturate, so that soft tissue keeps its contrast"
    if high - low < NARROWEST_HU:
        middle = (low + high) / 2
        low, high = middle - NARROWEST_HU / 2, middle + NARROWEST_HU / 2
        reason += f", widened to {NARROWEST_HU:g} HU"
    window = (float(5 * np.floor(low / 5)), float(5 * np.ceil(high / 5)))
    return Decision({"window_hu": window}, f"window {window[0]:g} to {window[1]:g} HU: {reason}")


def _fixed(fingerprint: Fingerprint) -> Decision[Mapping[str, Any]]:
    """Take the same range in every scan, as the names of the channels ask for."""
    ends = np.array([case.percentiles for case in fingerprint.figures])  # (cases, channels, 2)
    low, high = ends[..., 0].min(axis=0), ends[..., 1].max(axis=0)
    ranges = tuple((float(a), float(b) if b > a else float(a) + 1.0) for a, b in zip(low, high, strict=True))
    return Decision(
        {"ranges": ranges}, "the same range in every scan, as the names of the channels ask for no normalisation"
    )


def _of_each_scan(fingerprint: Fingerprint) -> Decision[Mapping[str, Any]]:
    """Choose percentiles or z-scores: in which a structure is equally bright in all scans."""
    by_percentiles, by_z_score = _spread(fingerprint, z_score=False), _spread(fingerprint, z_score=True)
    figures = f"spread of a structure's brightness between scans: {by_percentiles:.2f} of its own, {by_z_score:.2f}"
    if by_z_score < BETTER * by_percentiles:
        return Decision(
            {"deviations": Z_SCORE_REACH}, f"z-scores of each scan ({figures} with z-scores, which agree better)"
        )
    return Decision(
        {"percentiles": MR_PERCENTILES}, f"the 0.5 and 99.5 percentiles of each scan ({figures} with z-scores)"
    )


def _spread(fingerprint: Fingerprint, *, z_score: bool) -> float:
    """Return how much the mean brightness of structures differs between scans, over how much it differs within one."""
    between: list[float] = []
    for name in _structures(fingerprint):
        means, within = [], []
        for case in fingerprint.figures:
            structure = case.structures.get(name)
            if structure is None:
                continue
            low, high = np.array(case.percentiles).T
            zero, unit = np.array(case.mean), np.maximum(np.array(case.deviation), 1e-12)
            start, width = (zero, 2 * Z_SCORE_REACH * unit) if z_score else (low, np.maximum(high - low, 1e-12))
            means.append((np.array(structure.mean) - start) / width)
            within.append(np.array(structure.deviation) / width)
        if len(means) > 1:
            between.append(float(np.mean(np.std(means, axis=0) / np.maximum(np.mean(within, axis=0), 1e-6))))
    return float(np.mean(between)) if between else 0.0
