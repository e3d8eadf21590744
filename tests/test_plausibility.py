"""Ranges come from training masks with margins; what lies outside is told, and what a scan cuts off is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedded_vit.labels import LabelSet
from embedded_vit.mask_figures import MaskFigures, StructureFigures
from embedded_vit.plausibility import Plausibility, find_plausibility

LABELS = LabelSet.from_names(["liver", "spleen"])
LIVER = StructureFigures(1200, {"left": 0.3, "posterior": 0.5}, 0.25, (0.6, 0.35, 0.5), 0.92, at_border=False)
SPLEEN = StructureFigures(200, {"left": 0.8, "posterior": 0.6}, 0.05, (0.65, 0.7, 0.55), 0.9, at_border=False)


def mask(
    liver: StructureFigures | None = LIVER, spleen: StructureFigures | None = SPLEEN, **others: object
) -> MaskFigures:
    found = {number: each for number, each in ((1, liver), (2, spleen)) if each is not None}
    return replace(MaskFigures(found, in_ml=True, cropped=False, height_mm=240.0), **others)


@pytest.fixture
def plausibility() -> Plausibility:
    """Six patients whose livers have 1000 to 1500 ml."""
    cases = [mask(replace(LIVER, volume=1000 + 100 * number)) for number in range(6)]
    found = find_plausibility(cases, LABELS)
    assert found is not None
    return found


def test_training_masks_are_plausible_themselves(plausibility: Plausibility) -> None:
    judgement = plausibility.check(mask(), LABELS)
    assert judgement.warnings == []
    assert not judgement.nothing_plausible


def test_ranges_have_margins(plausibility: Plausibility) -> None:
    liver = plausibility.structures["liver"]
    assert liver.volume == pytest.approx((1000 / 1.5, 1500 * 1.5), rel=1e-3)
    assert liver.left == pytest.approx((0.2, 0.4))
    assert liver.confidence == pytest.approx(0.84)
    assert plausibility.least_height_mm == pytest.approx(228)
    assert [(order.first, order.second, order.axis) for order in plausibility.order] == [
        ("spleen", "liver", "superior"),
        ("spleen", "liver", "left"),
        ("spleen", "liver", "posterior"),
    ]


@pytest.mark.parametrize(
    ("liver", "why"),
    [
        (replace(LIVER, volume=44.0), "44 ml, expected 569 to 2.64e+03"),
        (replace(LIVER, volume=9000.0), "9e+03 ml"),
        (
            replace(LIVER, place={"left": 0.6, "posterior": 0.5}),
            "at 0.60 of the body towards left, expected 0.20 to 0.40",
        ),
        (replace(LIVER, place={"left": 0.3, "posterior": 0.9}), "towards posterior"),
        (replace(LIVER, share=0.6), "60 % of the body's cross-section"),
        (replace(LIVER, confidence=0.6), "mean probability 0.60, expected at least 0.84"),
    ],
)
def test_each_kind_of_implausible_structure_is_told(
    plausibility: Plausibility, liver: StructureFigures, why: str
) -> None:
    judgement = plausibility.check(mask(liver), LABELS)
    assert list(judgement.implausible) == ["liver"]
    assert why in judgement.warnings[0]


def test_structures_in_another_order_are_told(plausibility: Plausibility) -> None:
    spleen = replace(SPLEEN, centre=(0.65, 0.2, 0.55))
    assert plausibility.check(mask(spleen=spleen), LABELS).implausible == {
        "spleen": ("does not lie left of the liver",)
    }


def test_what_the_border_cuts_off_may_be_smaller_but_not_larger(plausibility: Plausibility) -> None:
    small = replace(LIVER, volume=44.0, share=0.01, at_border=True)
    assert plausibility.check(mask(small), LABELS).warnings == []
    assert plausibility.check(mask(replace(small, volume=9000.0)), LABELS).warnings != []


def test_places_in_a_crop_and_volumes_in_voxels_are_not_compared(plausibility: Plausibility) -> None:
    moved = replace(LIVER, place={"left": 0.9, "posterior": 0.9}, share=0.9)
    assert plausibility.check(mask(moved, cropped=True), LABELS).warnings == []
    assert plausibility.check(mask(replace(LIVER, volume=9e6), in_ml=False), LABELS).warnings == []


def test_a_structure_that_every_patient_has_is_missed_in_a_whole_scan_only(plausibility: Plausibility) -> None:
    assert plausibility.check(mask(spleen=None), LABELS).missing == ("spleen",)
    assert "not found" in plausibility.check(mask(spleen=None), LABELS).warnings[0]
    assert plausibility.check(mask(spleen=None, height_mm=60.0), LABELS).missing == ()
    assert plausibility.check(mask(spleen=None, height_mm=None), LABELS).missing == ()


def test_nothing_is_plausible_where_hardly_any_volume_is(plausibility: Plausibility) -> None:
    wrong = replace(LIVER, volume=300.0)
    scrap = replace(SPLEEN, volume=30.0, at_border=True)
    assert plausibility.check(mask(wrong, scrap), LABELS).nothing_plausible
    assert not plausibility.check(mask(wrong, SPLEEN), LABELS).nothing_plausible


def test_half_a_scan_holds_more_than_a_quarter_of_the_structures() -> None:
    labels = LabelSet.from_names(["a", "b", "c", "d"])
    case = replace(mask(), structures=dict.fromkeys((1, 2, 3, 4), LIVER))
    found = find_plausibility([case] * 6, labels)
    assert found is not None
    one, two = (dict.fromkeys(numbers, LIVER) for numbers in ((1,), (1, 2)))
    assert found.check(replace(case, structures=one, height_mm=120.0), labels).missing == ("b", "c", "d")
    assert found.check(replace(case, structures=one, height_mm=60.0), labels).missing == ()
    assert found.check(replace(case, structures=two, height_mm=120.0), labels).missing == ()


def test_an_empty_mask_is_told_of_any_scan_and_not_refused(plausibility: Plausibility) -> None:
    for empty in (mask(None, None), mask(None, None, height_mm=20.0), mask(None, None, height_mm=None)):
        judgement = plausibility.check(empty, LABELS)
        assert judgement.missing == ("liver", "spleen")
        assert not judgement.nothing_plausible


def test_few_cases_and_structures_of_few_cases_are_not_judged() -> None:
    assert find_plausibility([mask()] * 4, LABELS) is None
    found = find_plausibility([mask()] * 4 + [mask(spleen=None)] * 3, LABELS)
    assert found is not None
    assert list(found.structures) == ["liver"]
    assert found.structures["liver"].in_every_case


def test_ranges_survive_their_file(plausibility: Plausibility) -> None:
    assert Plausibility.model_validate_json(plausibility.model_dump_json()) == plausibility
