"""A mask that is unlike the training masks is told of, and refused where nothing is plausible."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifact_fixtures import RunVerb

import embedded_vit
from embedded_vit.errors import ContractError
from embedded_vit.io.nifti import write_volume
from embedded_vit.plausibility import Plausibility, StructureRange
from embedded_vit.volume import Volume

MakeArtifact = Callable[..., Path]


def scan(size: int = 40, *, begin: int = 20) -> Volume:
    """A body of 0 HU, 80 x 80 mm, with a bright box of `size` mm in every direction."""
    array = np.full((1, 60, 100, 100), -1000, np.int16)
    array[:, :, 10:90, 10:90] = 0
    array[:, 10 : 10 + size, begin : begin + size, 30 : 30 + size] = 250
    affine = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    return Volume(array, affine, source="box")


def expected(**changes: object) -> Plausibility:
    """What a box of 30 to 50 mm on the right looks like."""
    values = {
        "in_every_case": True,
        "volume": (27.0, 125.0),
        "share": (0.1, 0.5),
        "left": (0.2, 0.5),
        "posterior": (0.2, 0.8),
        "confidence": 0.6,
    }
    return Plausibility(cases=9, unit="ml", structures={"bright": StructureRange(**(values | changes))})


def test_a_plausible_mask_has_no_warning(make_artifact: MakeArtifact) -> None:
    prediction = embedded_vit.load(make_artifact(plausibility=expected()), threads=1).predict(scan())
    assert prediction.warnings == ()
    assert prediction.summary()["plausibility"] == {"implausible": {}, "missing": [], "nothing_plausible": False}


def test_older_model_files_are_not_checked(make_artifact: MakeArtifact) -> None:
    prediction = embedded_vit.load(make_artifact(), threads=1).predict(scan(size=4))
    assert prediction.summary()["plausibility"] == "not checked"


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (scan(size=16), "ml, expected 21.2 to 159"),
        (scan(begin=48), "of the body towards left, expected 0.20 to 0.50"),
    ],
)
def test_a_mask_of_which_nothing_is_plausible_is_refused(
    make_artifact: MakeArtifact, volume: Volume, reason: str, threads: int
) -> None:
    predictor = embedded_vit.load(make_artifact(plausibility=expected()), threads=threads)
    with pytest.raises(ContractError, match="box: refused: nothing in the mask is plausible") as refused:
        predictor.predict(volume)
    assert reason in str(refused.value)
    forced = predictor.predict(volume, force=True)
    assert forced.forced
    assert any(reason in warning for warning in forced.warnings)
    assert forced.mask.counts()[1] > 0


def test_an_unsure_network_is_told(make_artifact: MakeArtifact) -> None:
    forced = embedded_vit.load(make_artifact(plausibility=expected(confidence=0.99)), threads=1).predict(
        scan(), force=True
    )
    assert any("mean probability 0." in warning for warning in forced.warnings)


def test_a_short_scan_of_the_right_body_is_not_refused(make_artifact: MakeArtifact) -> None:
    whole = scan()
    short = Volume(whole.array[:, 20:28], whole.affine, source="short")  # 8 mm of the box's 40
    prediction = embedded_vit.load(make_artifact(plausibility=expected()), threads=1).predict(short)
    assert prediction.cut_off == ("bright",)
    assert prediction.summary()["plausibility"] == {"implausible": {}, "missing": [], "nothing_plausible": False}


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked:UserWarning")
def test_the_command_line_refuses_with_status_3_and_keeps_what_is_forced(
    make_artifact: MakeArtifact, tmp_path: Path, predict: RunVerb
) -> None:
    write_volume(tmp_path / "scan.nii.gz", scan(size=16).reoriented("LPS"))
    arguments = make_artifact(plausibility=expected()), tmp_path / "scan.nii.gz", "-o", tmp_path / "mask.nii.gz"
    status, _, told = predict(*arguments)
    assert status == 3
    assert "refused: nothing in the mask is plausible" in told
    assert not (tmp_path / "mask.nii.gz").exists()
    assert predict(*arguments, "--force")[0] == 0
    summary = json.loads((tmp_path / "mask.json").read_text())
    assert summary["forced"] is True
    assert summary["plausibility"]["nothing_plausible"] is True
