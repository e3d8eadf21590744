"""What a build says of its model: whether to trust it, and whether further training helped."""

from __future__ import annotations

import re

import pytest

from embedded_vit.build.scoring import cautions, compared
from embedded_vit.datasets.data_set import Split
from embedded_vit.evaluation.protocol import PROTOCOLS, Score
from embedded_vit.evaluation.results import CaseResult, Evaluation, Provenance
from embedded_vit.labels import LabelSet
from embedded_vit.training.checkpoint import EpochMetrics, TrainingRecord

LABELS = LabelSet.from_names(["liver", "spleen"])


def evaluation(*cases: tuple[float | None, float | None], of_patient: int = 1) -> Evaluation:
    """An evaluation of cases, each with the Dice of two structures; so many are of one patient."""
    results = tuple(
        CaseResult(
            f"case{number}",
            "test",
            tuple(Score(dice, dice, None if dice is None else 1.0, dice) for dice in scores),
            "mm",
            1.0,
            "",
            patient=f"patient{number // of_patient}",
        )
        for number, scores in enumerate(cases)
    )
    provenance = Provenance({}, {}, "", {}, "")
    return Evaluation(results, LABELS, PROTOCOLS["strict"], "test", "mm", provenance)


def trained(dice: list[float], validation: tuple[str, ...] = ("v",)) -> TrainingRecord:
    rows = tuple(
        EpochMetrics(
            epoch=number,
            loss=1.0,
            validation_dice=each if validation else None,
            learning_rate=1e-3,
            images_per_second=1.0,
            loading_fraction=0.0,
            seconds=1.0,
        )
        for number, each in enumerate(dice, start=1)
    )
    split = Split(seed=0, train=("t",), validation=validation, test=("e",))
    return TrainingRecord(data_folder="", data_fingerprint="", split=split, epochs=rows)


GOOD = evaluation(*[(0.9, 0.8)] * 6)
FLAT = [0.7] * 40


def test_a_good_model_has_no_cautions() -> None:
    assert cautions(GOOD, trained(FLAT), minutes=60) == []


def test_a_model_that_is_trained_further_may_be_so_briefly() -> None:
    assert cautions(GOOD, trained([0.7] * 3), minutes=60, fresh=False) == []


@pytest.mark.parametrize(
    ("scores", "record", "expected"),
    [
        (GOOD, trained([0.7] * 3), "not to be trusted: it was trained for 3 passes over the slices, as 60 minutes"),
        (GOOD, trained([0.1 + 0.01 * epoch for epoch in range(40)]), "was still rising"),
        (GOOD, trained(FLAT, validation=()), "No patient was left for validation"),
        (evaluation((0.9, 0.8)), trained(FLAT), "measured on 1 case only, held out"),
        (evaluation(*[(0.9, 0.3)] * 6), trained(FLAT), "Not found reliably (Dice below 0.5): spleen."),
    ],
)
def test_what_should_keep_from_trust_is_said(scores: Evaluation, record: TrainingRecord, expected: str) -> None:
    [sentence] = cautions(scores, record, minutes=60)
    assert expected in sentence


def test_the_passes_at_half_the_image_size_are_told_apart() -> None:
    [sentence] = cautions(GOOD, trained([0.7] * 3), coarse=trained([0.5] * 16), minutes=4)
    assert "it was trained for 3 passes (after 16 at half the image size) over the slices" in sentence
    assert cautions(GOOD, trained([0.7] * 4), coarse=trained([0.5] * 16), minutes=4) == []


def shifted(points: float, noise: float = 0.0) -> Evaluation:
    return evaluation(*[(0.7 + points / 100 + noise * (-1) ** number, 0.6 + points / 100) for number in range(8)])


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (shifted(5), r"The further training helped: \+5\.0 points of Dice, 95 % interval \+5\.0 to \+5\.0\."),
        (shifted(-5), r"The further training harmed: -5\.0 points.*Keep the model that you had\."),
        (shifted(0, noise=0.1), r"Whether the further training helped cannot be told: [+-]0\.0 points"),
    ],
)
def test_a_comparison_is_by_case_and_says_what_can_be_told(after: Evaluation, verdict: str) -> None:
    comparison = compared(shifted(0), after)
    assert comparison.before.mean == pytest.approx(0.65)
    assert re.match(verdict, comparison.verdict)


def test_a_structure_that_only_one_evaluation_has_is_not_compared() -> None:
    comparison = compared(evaluation((0.5, None), (0.5, 0.2)), evaluation((0.6, 0.9), (0.6, None)))
    assert comparison.change.mean == pytest.approx(0.1)


def test_many_cases_of_few_patients_are_few() -> None:
    [sentence] = cautions(evaluation(*[(0.9, 0.8)] * 8, of_patient=2), trained(FLAT), minutes=60)
    assert "measured on 8 cases of 4 patients only" in sentence


def test_two_cases_of_one_patient_decide_nothing() -> None:
    two = evaluation((0.5, 0.5), (0.5, 0.5), of_patient=2), evaluation((0.9, 0.9), (0.8, 0.8), of_patient=2)
    assert "one held-out patient, who decides nothing" in compared(*two).verdict


def test_one_case_decides_nothing() -> None:
    assert "decides nothing" in compared(evaluation((0.5, 0.5)), evaluation((0.9, 0.9))).verdict
