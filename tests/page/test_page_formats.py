"""DICOM series and pictures in a page: the masks of `predict`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from artifact_fixtures import write_artifact
from numpy.typing import NDArray

import embedded_vit
from embedded_vit.page import write_page
from embedded_vit.preprocessing import Preprocessing

pytestmark = pytest.mark.slow
Browse = Callable[..., dict[str, Any]]


def page_of(folder: Path, preprocessing: Preprocessing) -> tuple[Path, Path]:
    """Write a model that labels what is bright, and its page."""
    model = write_artifact(folder / "model.onnx", preprocessing=preprocessing)
    write_page(model, folder / "page.html")
    return folder / "page.html", model


def upright(image: nibabel.Nifti1Image) -> NDArray[Any]:
    return np.asanyarray(nibabel.as_closest_canonical(image).dataobj)


def test_a_dicom_series_gives_the_mask_of_predict(page_template: Path, browse: Browse, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from dicom_fixtures import write_series

    rng = np.random.default_rng(0)
    stored = rng.normal(1024, 20, (9, 36, 40)).astype(np.int16)
    stored[:, :6] = 24
    stored[2:7, 10:20, 12:24] = 1324
    write_series(tmp_path / "series", stored, RescaleIntercept=-1024)
    page, model = page_of(tmp_path, Preprocessing.for_modality("CT", image_size=32))
    steps = [
        {"do": "open", "hash": "#streams=1"},
        {"do": "choose", "folder": str(tmp_path / "series")},
        {"do": "save", "what": "mask", "path": str(tmp_path / "page.nii.gz")},
        {"do": "save", "what": "json", "path": str(tmp_path / "page.json")},
    ]
    answer = browse(page, steps, tmp_path)
    assert answer["requests"] == []
    assert answer["answers"][1]["refused"] is None
    expected = embedded_vit.load(model).predict(tmp_path / "series")
    expected.save(tmp_path / "python.nii.gz")
    there, here = nibabel.load(tmp_path / "python.nii.gz"), nibabel.load(tmp_path / "page.nii.gz")
    np.testing.assert_array_equal(upright(here), upright(there))
    np.testing.assert_allclose(
        nibabel.as_closest_canonical(here).affine, nibabel.as_closest_canonical(there).affine, atol=1e-3
    )
    assert np.count_nonzero(upright(here))
    assert json.loads((tmp_path / "page.json").read_text())["volumes"] == pytest.approx(expected.volumes)


def test_pictures_give_the_masks_of_predict(page_template: Path, browse: Browse, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(2)
    smooth = np.kron(rng.integers(0, 256, (6, 8)), np.ones((9, 9), int))
    colours = np.stack([smooth, smooth[::-1], smooth[:, ::-1]], axis=-1).astype(np.uint8)
    files = {
        "grey.png": pillow.fromarray(smooth.astype(np.uint8)),
        "deep.png": pillow.fromarray((smooth * 257).astype(np.uint16)),
        "colours.png": pillow.fromarray(colours),
        "palette.png": pillow.fromarray(colours).quantize(40),
        "clear.png": pillow.fromarray(np.dstack([colours, smooth.astype(np.uint8)])),
        "colours.jpg": pillow.fromarray(colours),
        "grey.jpg": pillow.fromarray(smooth.astype(np.uint8)),
    }
    preprocessing = Preprocessing.for_modality("picture", image_size=32, channels=("red", "green", "blue"))
    page, model = page_of(tmp_path, preprocessing)
    steps: list[dict[str, Any]] = [{"do": "open", "hash": "#streams=1"}]
    for name, picture in files.items():
        picture.save(tmp_path / name, dpi=(55, 55))
        steps += [
            {"do": "choose", "files": [str(tmp_path / name)]},
            {"do": "save", "what": "mask", "path": str(tmp_path / f"mask-{name}.png")},
            {"do": "save", "what": "json", "path": str(tmp_path / f"mask-{name}.json")},
        ]
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes((tmp_path / "grey.png").read_bytes()[:-30])
    steps += [{"do": "axe"}, {"do": "choose", "files": [str(damaged)]}]
    answer = browse(page, steps, tmp_path)
    assert answer["requests"] == []
    assert answer["answers"][-1]["refused"] == "damaged.png: the picture is truncated or damaged; copy it again"
    assert answer["answers"][-2]["violations"] == []
    predictor = embedded_vit.load(model)
    for name in files:
        expected = predictor.predict(tmp_path / name)
        mask = np.asarray(pillow.open(tmp_path / f"mask-{name}.png"))
        different = np.count_nonzero(mask != expected.mask.array[0])
        assert different <= (2 if name.endswith("jpg") else 0), name
        assert np.count_nonzero(mask)
        summary = json.loads((tmp_path / f"mask-{name}.json").read_text())
        assert summary["warnings"] == list(expected.warnings)
        if name.endswith("png"):
            assert summary["areas"] == expected.volumes
            assert summary["unit"] == expected.unit
