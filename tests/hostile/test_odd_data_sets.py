"""Every odd data set is looked at and planned, or refused in one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd_data_sets import ODD

from embedded_vit.datasets import check_data_set, open_data_set
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.planning.build_plan import BuildPlan
from embedded_vit.planning.pace import Pace
from embedded_vit.planning.planning import Clocks, plan_for
from embedded_vit.planning.summary import plan_text

CLOCKS = Clocks(pace=lambda small, large: Pace(base=1e-4, pixel=1e-6), latency_ms=lambda config: 1.0)
REFUSED = {  # by `plan`; the others are planned
    "masks_that_are_all_empty": "no labels at all in 4 cases; nothing to learn: add masks",
    "no_case": "no case in imagesTr and labelsTr; files such as CASE_0000.nii.gz are expected",
    "patients_of_other_cases": r"patients.csv: case 'case0' is not in it, and 3 more; add a line for each",
    "a_number_that_is_not_described": "holds label 7; the data set's labels end at 1",
    "ten_thousand_channels": "case0_0001.nii.gz: missing: the image of case case0",
    "masks_with_halves": "the label 0.5 is not an integer; give a mask, not probabilities",
    "masks_of_another_size": "lies on another grid than",
    "three_hundred_structures": "300 structures besides background; 1 to 255 are expected",
    "background_alone": "0 structures besides background",
    "numbers_with_gaps": "labels must be numbered 0 .background., 1, 2, ... without gaps",
    "all_is_ignored": "no labels at all in 4 cases; nothing to learn",
    "infinite_numbers_in_an_mr": "intensities are NaN or infinite; repair the file",
    "pictures_with_masks_of_many_greys": "its files hold 255 numbers, as images do and masks do not",
}


@pytest.fixture(autouse=True)
def nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def planned(name: str, folder: Path) -> tuple[DataSet, BuildPlan]:
    """Write a data set and plan it."""
    folder.mkdir()
    ODD[name](folder)
    data_set = open_data_set(folder)
    return data_set, plan_for(data_set, minutes=1, clocks=CLOCKS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_planned_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedVitError, match=REFUSED[name]) as caught:
        planned(name, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "data") in str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", sorted(ODD.keys() - REFUSED.keys()))
def test_an_odd_data_set_is_planned(name: str, tmp_path: Path) -> None:
    data_set, plan = planned(name, tmp_path / "data")
    config, split = plan.run_config(data_set), plan.split_of(data_set)
    assert config.training.epochs >= 1
    assert not set(split.train) & set(split.test)
    assert len(plan_text(plan, data_set).splitlines()) > len(plan.reasons)
    check_data_set(data_set)  # says what it finds, and never raises
