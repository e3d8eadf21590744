"""The result of an evaluation, and its two machine-readable files: `cases.csv` and `metrics.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.columns import csv_text
from embedded_vit.counted import counted
from embedded_vit.evaluation.lesions import LesionScore
from embedded_vit.evaluation.protocol import FILED_METRICS, NSD_TOLERANCE, Protocol, Score, Unit
from embedded_vit.evaluation.statistics import Estimate, Summary, summarise
from embedded_vit.labels import LabelSet

__all__ = ["CaseResult", "Evaluation", "Provenance", "cases_csv", "metrics_json"]


@dataclass(frozen=True)
class CaseResult:
    """The scores of one case.

    Attributes:
        name: The case's name in its data set.
        subset: Its subset in the model's split: train, validation, test or unknown.
        scores: One for each structure, in the order of the labels.
        unit: The unit of lengths.
        seconds: Wall time of the segmentation, without reading and scoring.
        digest: SHA-256 of scan and true mask.
        regions: One score for each region of the labels.
        patient: Whose case it is; empty where each case is a patient.
        lesions: Part of a brain tumour -> the scores of its lesions, as `brats_lesions` has them.
    """

    name: str
    subset: str
    scores: tuple[Score, ...]
    unit: Unit
    seconds: float
    digest: str
    regions: tuple[Score, ...] = ()
    patient: str = ""
    lesions: Mapping[str, LesionScore] = field(default_factory=dict)

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over the structures that count; None where no structure counts."""
        values = [value for score in self.scores if (value := getattr(score, metric)) is not None]
        return float(np.mean(values)) if values else None


@dataclass(frozen=True)
class Provenance:
    """The model, data, machine and versions behind the figures, all as text."""

    model: dict[str, str]
    data: dict[str, str]
    machine: str
    versions: dict[str, str]
    created: str  # ISO 8601, UTC


@dataclass(frozen=True)
class Evaluation:
    """All scores of a model on a subset of a data set."""

    cases: tuple[CaseResult, ...]
    labels: LabelSet
    protocol: Protocol
    subset: str
    unit: Unit
    provenance: Provenance
    unscored: Mapping[str, str] = field(default_factory=dict)  # case that could not be scored -> why
    notes: tuple[str, ...] = field(default=())

    @property
    def patients(self) -> list[str]:
        """The patient of each case."""
        return [case.patient or case.name for case in self.cases]

    @property
    def counted(self) -> str:
        """How many cases there are, and of how many patients, for a reader: "10 cases of 5 patients"."""
        cases, patients = len(self.cases), len(set(self.patients))
        of_patients = "" if patients == cases else f" of {counted(patients, 'patient')}"
        return f"{counted(cases, 'case')}{of_patients}"

    def values(self, metric: str) -> NDArray[np.float64]:
        """Return one metric as (cases, structures), NaN where a structure is excluded."""
        rows = [[getattr(score, metric) for score in case.scores] for case in self.cases]
        return np.array(rows, dtype=np.float64)

    @cached_property
    def regions(self) -> dict[str, dict[str, Estimate]]:
        """The mean and the interval of every metric of each region, by its name."""
        found = {}
        for index, region in enumerate(self.labels.regions):
            scores = [case.regions[index] for case in self.cases]
            columns = {metric: [[getattr(score, metric)] for score in scores] for metric in FILED_METRICS}
            found[region.name] = {
                metric: summarise(np.array(column, np.float64), self.patients).overall
                for metric, column in columns.items()
            }
        return found

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """The mean and the interval of every metric."""
        return {metric: summarise(self.values(metric), self.patients) for metric in FILED_METRICS}

    def counts(self, organ: int | None = None) -> dict[str, int]:
        """Count scored, excluded, missed and false positive structures over all cases; `organ`, from 0, counts one."""
        return _counts(
            [score for case in self.cases for score in (case.scores if organ is None else [case.scores[organ]])]
        )

    def region_counts(self, region: int) -> dict[str, int]:
        """Count likewise for one region, from 0."""
        return _counts([case.regions[region] for case in self.cases])


def _counts(scores: Sequence[Score]) -> dict[str, int]:
    return {
        "scored": sum(not score.excluded for score in scores),
        "excluded": sum(score.excluded for score in scores),
        "missed": sum(score.missed for score in scores),
        "hallucinated": sum(score.hallucinated for score in scores),
    }


def cases_csv(evaluation: Evaluation) -> str:
    """Return `cases.csv`: one row for each structure and region of each case; an excluded value is empty."""
    length = f"hd95_{evaluation.unit}"
    columns = ["case", "subset", "organ", "dice", "jaccard", length, "nsd", "nsd_by_area"]
    columns += ["missed", "hallucinated", "excluded"]
    rows = []
    for case in evaluation.cases:
        names = (*evaluation.labels.names, *(region.name for region in evaluation.labels.regions))
        for name, score in zip(names, (*case.scores, *case.regions), strict=True):
            values = ["" if (value := getattr(score, metric)) is None else f"{value:.6f}" for metric in FILED_METRICS]
            flags = [int(score.missed), int(score.hallucinated), int(score.excluded)]
            rows.append(dict(zip(columns, [case.name, case.subset, name, *values, *flags], strict=True)))
    return csv_text(columns, rows)


def metrics_json(evaluation: Evaluation, further: Mapping[str, Any] | None = None) -> str:
    """Return `metrics.json`: means, intervals, counts, cases and provenance; null where no case counts.

    Args:
        evaluation: All scores.
        further: What else it says.
    """
    summaries = evaluation.summaries
    document = {
        "mean": {metric: summaries[metric].overall.mean for metric in FILED_METRICS},
        "mean_interval_95": {metric: _interval(summaries[metric].overall) for metric in FILED_METRICS},
        "mean_definition": "mean over organs of each organ's mean over cases",
        "interval_definition": "95 % percentile bootstrap over patients, each with all their cases",
        "counts": {
            "cases": len(evaluation.cases),
            "patients": len(set(evaluation.patients)),
            **evaluation.counts(),
        },
        "unscored": dict(evaluation.unscored),
        "organs": {name: _organ(evaluation, index) for index, name in enumerate(evaluation.labels.names)},
        **({"regions": _regions(evaluation)} if evaluation.labels.regions else {}),
        **(further or {}),
        "cases": {case.name: _case(case, evaluation.labels) for case in evaluation.cases},
        "protocol": {"name": evaluation.protocol.name, "description": evaluation.protocol.description},
        "split": evaluation.subset,
        "units": {"hd95": evaluation.unit, "nsd_tolerance": f"{NSD_TOLERANCE:g} {evaluation.unit}"},
        "notes": list(evaluation.notes),
        **asdict(evaluation.provenance),
        "use": RESEARCH_USE_ONLY,
    }
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _interval(estimate: Any) -> list[float] | None:
    return None if estimate.low is None else [estimate.low, estimate.high]


def _organ(evaluation: Evaluation, index: int) -> dict[str, Any]:
    estimates = {metric: evaluation.summaries[metric].organs[index] for metric in FILED_METRICS}
    return {
        **{metric: estimate.mean for metric, estimate in estimates.items()},
        "interval_95": {metric: _interval(estimate) for metric, estimate in estimates.items()},
        "counts": evaluation.counts(index),
    }


def _regions(evaluation: Evaluation) -> dict[str, Any]:
    return {
        region.name: {
            "members": [evaluation.labels.names[member - 1] for member in region.members],
            **{metric: estimate.mean for metric, estimate in evaluation.regions[region.name].items()},
            "interval_95": {metric: _interval(each) for metric, each in evaluation.regions[region.name].items()},
        }
        for region in evaluation.labels.regions
    }


def _case(case: CaseResult, labels: LabelSet) -> dict[str, Any]:
    regions = {region.name: asdict(score) for region, score in zip(labels.regions, case.regions, strict=True)}
    lesions = {name: asdict(score) for name, score in case.lesions.items()}
    return {
        "subset": case.subset,
        "patient": case.patient or case.name,
        "mean": {metric: case.mean(metric) for metric in FILED_METRICS},
        "organs": {name: asdict(score) for name, score in zip(labels.names, case.scores, strict=True)},
        **({"regions": regions} if regions else {}),
        **({"lesions": lesions} if lesions else {}),
        "seconds": round(case.seconds, 3),
        "sha256": case.digest,
    }
