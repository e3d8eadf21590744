"""Means over cases and structures, with bootstrap intervals over patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "Summary", "summarise"]

RESAMPLES = 10_000
SEED = 0  # the same results give the same intervals


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; None where no case counts, without an interval where only one patient does."""

    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Summary:
    """One metric over all cases.

    Attributes:
        overall: The mean over structures of each structure's mean over cases.
        organs: Each structure's mean over cases.
    """

    overall: Estimate
    organs: tuple[Estimate, ...]


def summarise(
    values: NDArray[np.float64], patients: Sequence[str] | None = None, *, resamples: int = RESAMPLES
) -> Summary:
    """Average over cases, then over structures, with percentile bootstrap intervals over patients.

    Patients are drawn with all their cases and structures, because what is of one patient is not independent: two
    scans of one heart say little more of other hearts than one does.

    Args:
        values: (cases, structures), NaN where a structure is excluded.
        patients: The patient of each case, (cases,); None where each case is a patient.
        resamples: Number of bootstrap samples; each draws as many patients as there are, with replacement.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13; drawing whole patients is the
        cluster bootstrap of Field and Welsh, "Bootstrapping clustered data", 2007.
    """
    places: dict[str, int] = {}  # in the order of their first cases
    of_case = [places.setdefault(patient, len(places)) for patient in patients or map(str, range(len(values)))]
    count = len(places)
    organ_means = _organ_means(np.ones((1, len(values))), values)  # (1, structures)
    draws = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), size=resamples)
    drawn_means = _organ_means(draws[:, of_case].astype(np.float64), values)  # (resamples, structures)
    known = np.zeros((count, values.shape[1]), np.bool_)  # whether a patient counts
    np.logical_or.at(known, of_case, ~np.isnan(values))
    counts = known.sum(axis=0)
    return Summary(
        overall=_estimate(_mean_of_known(organ_means)[0], _mean_of_known(drawn_means), int(counts.max(initial=0))),
        organs=tuple(
            _estimate(organ_means[0, organ], drawn_means[:, organ], int(count)) for organ, count in enumerate(counts)
        ),
    )


def _organ_means(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average (cases, structures) values by (draws, cases) weights: (draws, structures), NaN where no case counts."""
    known = ~np.isnan(values)
    totals, counts = weights @ np.where(known, values, 0.0), weights @ known.astype(np.float64)
    return np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)


def _mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average (draws, structures) over structures that are not NaN: (draws,), NaN where all are."""
    return _organ_means(np.ones((1, values.shape[1])), values.T)[0]


def _estimate(mean: float, drawn: NDArray[np.float64], patients: int) -> Estimate:
    if patients == 0:
        return Estimate(None, None, None)
    if patients == 1:
        return Estimate(float(mean), None, None)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Estimate(float(mean), float(low), float(high))
