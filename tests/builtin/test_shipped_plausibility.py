"""Shipped models that know their masks tell a head from an abdomen, and refuse no real abdomen."""

from __future__ import annotations

from pathlib import Path

import pytest

import embedded_vit
from embedded_vit.builtin.index import builtin_model, builtin_names
from embedded_vit.datasets.phantom import PhantomSettings, make_phantom
from embedded_vit.errors import ContractError
from embedded_vit.plausibility import Judgement

ABDOMEN = [name for name in builtin_names() if name.startswith("abdomen") and builtin_model(name).manifest.plausibility]


def test_the_fastest_model_knows_its_masks() -> None:
    assert "abdomen-ct-fast" in ABDOMEN


@pytest.mark.parametrize("name", ABDOMEN)
def test_a_head_is_refused_and_an_abdomen_is_not_even_warned_of(name: str) -> None:
    predictor = embedded_vit.load(name, threads=1)
    head, _ = make_phantom(3, seed=9, settings=PhantomSettings(size=96, slices=26, anatomy="head"))
    with pytest.raises(ContractError, match="nothing in the mask is plausible"):
        predictor.predict(head)
    abdomen, _ = make_phantom(3, seed=9, settings=PhantomSettings(size=128, slices=36))
    judgement = predictor.predict(abdomen).judgement
    assert judgement is not None
    assert judgement.warnings == []


@pytest.mark.parametrize("name", ABDOMEN)
@pytest.mark.parametrize("scan", ["example_ct_dicom", "example_ct_sm.nii.gz"])
def test_a_real_short_scan_and_a_real_crop_are_not_implausible(name: str, scan: str, shared_folder: Path) -> None:
    pytest.importorskip("pydicom")
    path = shared_folder / "data" / "readers" / "totalsegmentator_ct" / scan
    judgement = embedded_vit.load(name, threads=1).predict(path, force=True).judgement
    assert judgement is not None
    assert judgement.warnings == []


@pytest.mark.parametrize("case", ["pt_100", "pt_104", "pt_125"])
def test_most_of_the_mask_of_a_real_head_is_warned_of(case: str, shared_folder: Path) -> None:
    judgement = judged_head(case, shared_folder)
    assert len(judgement.implausible) + len(judgement.missing) >= 7  # of 8 structures


@pytest.mark.parametrize("case", ["pt_104", "pt_125"])
def test_a_real_head_is_refused(case: str, shared_folder: Path) -> None:
    assert judged_head(case, shared_folder).nothing_plausible


def judged_head(case: str, shared_folder: Path) -> Judgement:
    """Judge the mask of head and neck, OpenKBP; its voxels are larger than the contract's, so the mask alone."""
    path = shared_folder / "data" / "openkbp" / "imagesTr" / f"{case}_0000.nii.gz"
    if not path.exists():
        pytest.skip("no OpenKBP beside the repository")
    judgement = embedded_vit.load("abdomen-ct-fast", threads=1).predict(path, force=True).judgement
    assert judgement is not None
    return judgement


def test_three_slices_through_a_real_liver_are_not_implausible(shared_folder: Path) -> None:
    """The CT beside dcmqi's segmentation of a liver, which is all that is asked of so short a scan."""
    pytest.importorskip("pydicom")
    path = shared_folder / "data" / "readers" / "dcmqi_ct_seg" / "ct-3slice"
    prediction = embedded_vit.load("abdomen-ct-fast", threads=1).predict(path, force=True)
    assert prediction.judgement is not None
    assert prediction.judgement.warnings == []
    assert prediction.volumes["liver"] > 30
    assert "liver" in prediction.cut_off
