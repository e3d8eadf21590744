"""Summarise `metrics.json` files as figures of a built-in model: of one test, or of all folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embedded_vit.builtin.index import Failure, Figures, OrganFigures
from embedded_vit.evaluation.protocol import METRICS
from embedded_vit.evaluation.statistics import summarise

__all__ = ["pooled_figures"]

POOR_DICE, FAILURES = 0.5, 8  # a card names single patients' structures below this Dice, and how many at most


def pooled_figures(documents: Sequence[Mapping[str, Any]], experiment: str) -> Figures:
    """Summarise the `metrics.json` of one test, or of all folds of a cross-validation, as one evaluation would.

    Args:
        documents: The files' contents, with the same structures and units and different cases.
        experiment: The title of the figures.
    """
    organs = list(documents[0]["organs"])
    cases = {name: case for document in documents for name, case in document["cases"].items()}
    scores = {(case, organ): cases[case]["organs"][organ] for case in cases for organ in organs}
    patients = [case.get("patient", name) for name, case in cases.items()]  # older files have a case a patient
    summaries = {
        metric: summarise(
            np.array([[scores[case, organ][metric] for organ in organs] for case in cases], dtype=np.float64),
            patients,
        )
        for metric in METRICS
    }
    overall = {metric: summary.overall for metric, summary in summaries.items()}
    by_patient = {name: case["mean"]["dice"] for name, case in cases.items() if case["mean"]["dice"] is not None}
    worst = min(by_patient, key=lambda name: by_patient[name])
    low, high = overall["dice"].low, overall["dice"].high
    return Figures(
        experiment=experiment,
        patients=len(set(patients)),
        dice=overall["dice"].mean,
        dice_interval=None if low is None or high is None else (low, high),
        nsd=overall["nsd"].mean,
        hd95=overall["hd95"].mean,
        unit=documents[0]["units"]["hd95"],
        organs={
            organ: OrganFigures(
                dice=mean.mean,
                scored=sum(scores[case, organ]["dice"] is not None for case in cases),
                missed=sum(scores[case, organ]["missed"] for case in cases),
                hallucinated=sum(scores[case, organ]["hallucinated"] for case in cases),
            )
            for organ, mean in zip(organs, summaries["dice"].organs, strict=True)
        },
        worst_patient=worst,
        worst_patient_dice=by_patient[worst],
        failures=worst_structures(scores),
    )


def worst_structures(scores: Mapping[tuple[str, str], Mapping[str, Any]]) -> tuple[Failure, ...]:
    """Return the structures of single patients with a Dice below `POOR_DICE`, the worst first.

    Args:
        scores: Scores by case and structure, as in `metrics.json`.
    """
    poor = {key: score for key, score in scores.items() if score["dice"] is not None and score["dice"] < POOR_DICE}
    return tuple(
        Failure(
            patient=case,
            organ=organ,
            dice=round(poor[case, organ]["dice"], 3),
            kind="missed" if score["missed"] else "hallucinated" if score["hallucinated"] else "poor",
        )
        for (case, organ), score in sorted(poor.items(), key=lambda item: item[1]["dice"])[:FAILURES]
    )
