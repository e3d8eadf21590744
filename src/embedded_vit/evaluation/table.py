"""The table that an evaluation prints."""

from __future__ import annotations

from embedded_vit.columns import in_columns
from embedded_vit.evaluation.brats import brats_estimates, lesion_estimates
from embedded_vit.evaluation.protocol import METRICS, NSD_TOLERANCE
from embedded_vit.evaluation.results import Evaluation
from embedded_vit.evaluation.statistics import Estimate
from embedded_vit.printable import printable_text

__all__ = ["text_table"]


def text_table(evaluation: Evaluation) -> str:
    """Return the table as text: a row for each structure, their mean, and a row for each region."""
    unit = evaluation.unit
    header = ["", "Dice", "95 % interval", "Jaccard", f"HD95 ({unit})", f"NSD ({NSD_TOLERANCE:g} {unit})"]
    header += ["scored", "excluded", "missed", "false positive"]
    rows = [header]
    for index, name in enumerate(evaluation.labels.names):
        estimates = {metric: evaluation.summaries[metric].organs[index] for metric in METRICS}
        rows.append(_row(name, estimates, evaluation.counts(index)))
    overall = {metric: evaluation.summaries[metric].overall for metric in METRICS}
    rows.append(_row("mean", overall, evaluation.counts()))
    for index, (name, estimates) in enumerate(evaluation.regions.items()):
        rows.append(_row(f"region: {name}", estimates, evaluation.region_counts(index)))
    nothing = Estimate(None, None, None)
    uncounted = dict.fromkeys(("excluded", "missed", "hallucinated"), 0) | {"scored": len(evaluation.cases)}
    for rule, parts in (("BraTS", brats_estimates(evaluation)), ("BraTS lesions", lesion_estimates(evaluation))):
        for name, metrics in parts.items():
            row = _row(f"{rule}: {name}", {"jaccard": nothing, "nsd": nothing, **metrics}, uncounted)
            rows.append([*row[:-3], "-", "-", "-"])
    title = (
        f"{evaluation.provenance.data['name']}: {evaluation.counted}, split {evaluation.subset}, "
        f"protocol {evaluation.protocol.name}; intervals over patients"
    )
    return printable_text([title, *evaluation.notes, *in_columns(rows, left=1)])


def _row(name: str, estimates: dict[str, Estimate], counts: dict[str, int]) -> list[str]:
    dice = estimates["dice"]
    interval = "" if dice.low is None or dice.high is None else f"{dice.low:.3f} - {dice.high:.3f}"
    values = [
        _number(dice, 3),
        interval,
        _number(estimates["jaccard"], 3),
        _number(estimates["hd95"], 1),
        _number(estimates["nsd"], 3),
    ]
    return [name, *values, *(str(counts[key]) for key in ("scored", "excluded", "missed", "hallucinated"))]


def _number(estimate: Estimate, decimals: int) -> str:
    return "-" if estimate.mean is None else f"{estimate.mean:.{decimals}f}"
