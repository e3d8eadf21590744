"""What really comes with the package: small enough, whole, attributed, described, and at work in any orientation."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import nibabel
import numpy as np
import pytest

import embedded_vit
from embedded_vit.builtin.card import card
from embedded_vit.builtin.index import MAXIMUM_BYTES, builtin_model, builtin_names

CARDS = Path(__file__).resolve().parents[2] / "docs" / "models"
FILES = importlib.resources.files("embedded_vit.builtin")

shipped = pytest.mark.parametrize("name", builtin_names())


def test_all_files_together_are_small_and_nothing_else_lies_there() -> None:
    files = [file for file in FILES.iterdir() if file.is_file() and not file.name.endswith(".py")]
    assert sum(len(file.read_bytes()) for file in files) < MAXIMUM_BYTES
    expected = {f"{name}{suffix}" for name in builtin_names() for suffix in (".onnx", ".json")} | {"NOTICE.md"}
    assert {file.name for file in files} == expected


def test_no_card_is_left_of_a_model_that_is_gone() -> None:
    assert {path.stem for path in CARDS.glob("*.md")} == {"README", *builtin_names()}


@shipped
def test_artifact_facts_and_card_belong_together(name: str) -> None:
    model = builtin_model(name)  # which compares the digests
    assert model.manifest.name == name
    assert set(model.facts.figures[0].organs) == set(model.manifest.labels.names)
    assert model.manifest.split["train"]
    assert not model.manifest.split["test"]
    assert (CARDS / f"{name}.md").read_text(encoding="utf-8") == card(model)


@shipped
def test_the_notice_names_licence_and_source(name: str) -> None:
    notice, source = (FILES / "NOTICE.md").read_text(encoding="utf-8"), builtin_model(name).facts.source
    addresses = [word.strip(",;()") for word in source.attribution.split() if word.startswith("https://")]
    assert addresses
    for text in (source.licence, source.licence_address, *addresses):
        assert text in notice


@shipped
def test_it_finds_the_same_in_every_orientation(name: str, decathlon_folder: Path, tmp_path: Path) -> None:
    model, predictor = builtin_model(name), embedded_vit.load(name, threads=1)
    image = nibabel.load(sorted((decathlon_folder / "imagesTr").iterdir())[0])
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    assert nibabel.aff2axcodes(turned.affine) != nibabel.aff2axcodes(image.affine)
    masks = []
    for place, scan in enumerate((image, turned)):
        nibabel.save(scan, tmp_path / f"scan{place}.nii.gz")
        prediction = predictor.predict(tmp_path / f"scan{place}.nii.gz", force=True)
        prediction.save(tmp_path / f"mask{place}.nii.gz")
        mask = nibabel.as_closest_canonical(nibabel.load(tmp_path / f"mask{place}.nii.gz"))
        masks.append(np.asanyarray(mask.dataobj))
    if model.manifest.preprocessing.modality == "CT":
        assert len(np.unique(masks[0])) > 1
    np.testing.assert_array_equal(*masks)
