"""Label sets."""

from __future__ import annotations

import pytest

from embedded_vit.errors import ConfigError
from embedded_vit.labels import SYNAPSE_LABELS, LabelSet


def test_the_synapse_organs_are_in_transunets_order():
    assert SYNAPSE_LABELS.names == (
        "aorta", "gallbladder", "left kidney", "right kidney", "liver", "pancreas", "spleen", "stomach",
    )  # fmt: skip
    assert SYNAPSE_LABELS.classes == 9
    assert not SYNAPSE_LABELS.mirror


def test_names_get_numbers_and_different_colours():
    labels = LabelSet.from_names([f"structure {number}" for number in range(16)])
    assert [label.id for label in labels.labels] == list(range(1, 17))
    assert len({label.rgb for label in labels.labels}) == 16


def test_known_organs_keep_their_colour_and_code_in_any_data_set():
    labels = LabelSet.from_names(["tumour", "Left_Kidney"])
    assert labels.labels[1].snomed == SYNAPSE_LABELS.labels[2].snomed == "18639004"
    assert labels.labels[1].colour == SYNAPSE_LABELS.labels[2].colour
    assert labels.labels[0].snomed is None


def test_numbers_with_gaps_are_refused():
    values = LabelSet.from_names(["a", "b"]).model_dump()
    values["labels"][1]["id"] = 4
    with pytest.raises(ConfigError, match=r"without gaps, got \[1, 4\]"):
        LabelSet.parse(values, source="test")


def test_no_structure_at_all_is_refused():
    with pytest.raises(ConfigError, match="at least one structure"):
        LabelSet.parse({"labels": []}, source="test")


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["left kidney", "liver", "right kidney"], (0, 3, 2, 1)),
        (["Parotid_L", "Parotid_R", "cord"], (0, 2, 1, 3)),
        (["lh-hippocampus", "rh-hippocampus"], (0, 2, 1)),
        (["right ventricle", "myocardium"], (0, 1, 2)),  # the other side has no number
        (["L1", "R1", "liver lobe"], (0, 1, 2, 3)),  # vertebrae
    ],
)
def test_left_and_right_are_known_by_their_names(names: list[str], numbers: tuple[int, ...]) -> None:
    assert LabelSet.from_names(names).mirrored_numbers == numbers
