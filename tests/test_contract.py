"""One contract for training, export, evaluation and prediction; the files keep its parts as keys of their own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from artifact_fixtures import threshold_graph, threshold_manifest

from embedded_vit.artifact.manifest import Manifest
from embedded_vit.contract import Contract, SpacingRange
from embedded_vit.errors import ContractError
from embedded_vit.labels import LabelSet
from embedded_vit.models.registry import network_config
from embedded_vit.postprocessing import Postprocessing
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.training.settings import RunConfig, TrainingConfig
from embedded_vit.volume import Volume

PARTS = {"preprocessing", "labels", "postprocessing"}
LABELS = LabelSet.from_names(["liver", "spleen"])
SLP_AFFINE = np.array([[0, -0.8, 0, 0], [0, 0, -0.8, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])  # 3 x 0.8 x 0.8 mm


def contract_of(*, spacing_range: SpacingRange | None = None, **settings: object) -> Contract:
    return Contract(
        preprocessing=Preprocessing.for_modality("CT", image_size=32, **settings),
        labels=LABELS,
        postprocessing=Postprocessing(smallest_component={"spleen": 0.25}),
        spacing_range=spacing_range,
    )


def scan(*, channels: int = 1, darkest: float = -1000, **fields: object) -> Volume:
    hounsfield = np.full((channels, 2, 4, 4), darkest, np.float32)
    hounsfield[:, :, 1:3, 1:3] = 40
    return Volume(hounsfield, SLP_AFFINE, source="scan", **fields)


def test_shares_follow_the_labels() -> None:
    assert contract_of().smallest_shares == [0, 0.25]


def test_a_manifest_gives_its_contract_and_keeps_its_keys() -> None:
    spacing = SpacingRange(slices_mm=(1, 5), in_plane_mm=(0.5, 1))
    manifest = threshold_manifest(threshold_graph().SerializeToString(), spacing_range=spacing)
    contract = manifest.contract
    assert contract.preprocessing is manifest.preprocessing
    assert contract.labels is manifest.labels
    assert contract.postprocessing is manifest.postprocessing
    assert contract.spacing_range is spacing
    keys = list(json.loads(manifest.model_dump_json()))
    assert keys == list(Manifest.model_fields)
    assert {*PARTS, "spacing_range"} < set(keys)
    assert "contract" not in keys


def test_a_run_gives_its_contract_also_after_a_change() -> None:
    contract = contract_of()
    config = RunConfig(
        network=network_config("embedded-vit-64", image_size=32, classes=LABELS.classes, in_channels=3),
        preprocessing=contract.preprocessing,
        labels=LABELS,
        training=TrainingConfig.for_recipe("paper"),
    )
    assert config.contract == contract.model_copy(update={"postprocessing": Postprocessing()})
    found = config.model_copy(update={"postprocessing": contract.postprocessing})
    assert found.contract == contract
    keys = json.loads(found.model_dump_json())
    assert keys.keys() == {*PARTS, "intensities", "network", "partial_labels", "training"}
    assert RunConfig.parse(keys, source="config.json").contract == contract


def test_another_number_of_channels_is_refused() -> None:
    contract_of().check_channels(scan())
    with pytest.raises(ContractError, match="scan: the scan has 2 channels, this artifact takes 1: CT"):
        contract_of().check_channels(scan(channels=2))


@pytest.mark.parametrize("codes", ["SLP", "RAS"])
def test_a_scan_in_the_range_has_no_violations(codes: str) -> None:
    allowed = SpacingRange(slices_mm=(2, 6), in_plane_mm=(0.5, 1))
    assert contract_of(spacing_range=allowed).violations(scan().reoriented(codes)) == []


def test_violations_are_sentences() -> None:
    allowed = SpacingRange(slices_mm=(4, 6), in_plane_mm=(1, 2))
    between, within, unit = contract_of(spacing_range=allowed).violations(scan(darkest=0))
    assert between == "slices lie 3 mm apart, the artifact is made for 4 to 6 mm"
    assert within == "pixels lie 0.8 mm apart, the artifact is made for 1 to 2 mm"
    assert "HU" in unit


def test_slices_that_the_network_sees_together_count() -> None:
    allowed = SpacingRange(slices_mm=(5, 7), in_plane_mm=(0.5, 1))
    assert contract_of(spacing_range=allowed).violations(scan()) != []
    every_second = contract_of(spacing_range=allowed, context_slices=3, context_mm=6.0)
    assert every_second.violations(scan()) == []


@pytest.mark.parametrize("factor", [1 - 2e-7, 1, 1 + 2e-7])
def test_rounding_of_the_spacing_decides_nothing(factor: float) -> None:
    rounded = replace(scan(), affine=SLP_AFFINE * [factor, factor, factor, 1])
    allowed = SpacingRange(slices_mm=(3, 3), in_plane_mm=(0.8, 0.8))
    assert contract_of(spacing_range=allowed).violations(rounded) == []
    halfway = contract_of(context_slices=3, context_mm=4.5)  # 1.5 slices, which is rounded to the even number
    assert halfway.preprocessing.context_step(rounded) == 2


def test_an_unknown_spacing_violates_nothing() -> None:
    allowed = SpacingRange(slices_mm=(4, 6), in_plane_mm=(1, 2))
    assert contract_of(spacing_range=allowed).violations(scan(spacing_known=False)) == []


@pytest.mark.parametrize(
    ("modality", "channels", "taken"),
    [
        ("MR", ("foo",), ("MR",)),
        ("MR", ("T1", "FLAIR"), ("MR",)),
        ("MR", ("PET",), ("MR", "PT")),
        ("MR", ("PET_late", "pt"), ("MR", "PT")),
        ("MR", ("PET", "T1"), ("MR",)),
        ("MR", ("petrous bone",), ("MR",)),
        ("MR", ("SPECT",), ("MR", "NM")),
        ("CT", ("CT_venous",), ("CT",)),
    ],
)
def test_a_scan_is_of_the_modality_or_of_what_the_channels_are_called(
    modality: str, channels: tuple[str, ...], taken: tuple[str, ...]
) -> None:
    preprocessing = Preprocessing.for_modality(modality, image_size=32, channels=channels)
    contract = Contract(preprocessing=preprocessing, labels=LABELS)
    assert tuple(each for each in ("CT", "MR", "PT", "NM", "US") if contract.takes(each)) == taken
