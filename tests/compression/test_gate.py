"""The gate opens for small losses and names large ones."""

from __future__ import annotations

import pytest

from embedded_vit.compression.gate import Gate
from embedded_vit.evaluation.scores import Scores


def scores(dice: float | None, **organs: float | None) -> Scores:
    return Scores(dice=dice, jaccard=None, hd95=None, nsd=None, unit="mm", cases=1, organs=organs)


def test_a_small_loss_passes():
    assert Gate().objection(scores(0.8, liver=0.9, spleen=0.7), scores(0.795, liver=0.895, spleen=0.695)) == ""


def test_a_large_loss_of_the_mean_is_named():
    assert "0.7000 of 0.8000" in Gate().objection(scores(0.8, liver=0.8), scores(0.7, liver=0.7))


def test_one_organ_that_loses_too_much_is_named():
    objection = Gate().objection(scores(0.8, liver=0.9, spleen=0.7), scores(0.8, liver=0.95, spleen=0.65))
    assert objection.startswith("spleen loses 0.0500")


@pytest.mark.parametrize("lost", [scores(None, liver=0.8), scores(0.8, liver=None)])
def test_what_cannot_be_measured_any_more_is_lost(lost):
    assert Gate().objection(scores(0.8, liver=0.8), lost)
