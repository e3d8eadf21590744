"""DICOM series and pictures in a page: the masks of `predict`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnx
import pytest
from artifact_fixtures import DARK_AND_BRIGHT, dark_and_bright_graph, write_artifact
from numpy.typing import NDArray

import embedded_vit
from embedded_vit.errors import EmbeddedVitError
from embedded_vit.page import write_page
from embedded_vit.preprocessing import Preprocessing

pytestmark = pytest.mark.slow
Browse = Callable[..., dict[str, Any]]


def page_of(
    folder: Path, preprocessing: Preprocessing, graph: onnx.ModelProto | None = None, **fields: Any
) -> tuple[Path, Path]:
    """Write a model, by default one that labels what is bright, and its page."""
    model = write_artifact(folder / "model.onnx", graph, preprocessing=preprocessing, **fields)
    write_page(model, folder / "page.html")
    return folder / "page.html", model


def upright(image: nibabel.Nifti1Image) -> NDArray[Any]:
    return np.asanyarray(nibabel.as_closest_canonical(image).dataobj)


def test_a_dicom_series_gives_the_mask_of_predict(page_template: Path, browse: Browse, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from dicom_fixtures import write_series

    write_series(tmp_path / "series", block(), RescaleIntercept=-1024)
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
    summary = json.loads((tmp_path / "page.json").read_text())
    assert summary["volumes"] == pytest.approx(expected.volumes)
    assert summary["input_sha256"] == expected.summary()["input_sha256"]


def block() -> NDArray[np.int16]:
    """Return the stored numbers of a CT with a bright block, (slices, rows, columns), 1024 above HU."""
    stored = np.random.default_rng(0).normal(1024, 20, (9, 36, 40)).astype(np.int16)
    stored[:, :6] = 24
    stored[2:7, 10:20, 12:24] = 1324
    return stored


def series_of_all_kinds(top: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Write folders: those that the page reads as `predict` does, and those that both refuse."""
    from dicom_fixtures import write_enhanced, write_series
    from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

    stored = block()
    padded = stored.copy()
    padded[:, :, :5] = -2000
    ct: dict[str, Any] = {"RescaleIntercept": -1024}
    read = {
        "downwards": {"step": (0, 0, -2.5)},
        "oblique": {"ImageOrientationPatient": [0.955336, 0.29552, 0, -0.29552, 0.955336, 0]},
        "coronal": {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "step": (0, 2.5, 0)},
        "derived": {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]},
        "big-endian": {"syntax": ExplicitVRBigEndian},
        "rle": {"syntax": RLELossless},
        "jpeg-2000": {"syntax": JPEG2000Lossless},
    }
    refused = {
        "scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "colour": {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
        "no-place": {"ImagePositionPatient": None},
        "no-hu": {"RescaleType": "OD"},
        "uneven": {},
        "missing": {},
        "twice": {},
        "short": {},
    }
    for name, tags in (read | refused).items():
        write_series(top / name, stored, **ct, **tags)
    write_series(top / "padded", padded, **ct, PixelPaddingValue=-2000)
    write_series(top / "two" / "ct", stored, **ct)
    other = {"Modality": "MR", "SeriesNumber": 5, "SeriesInstanceUID": "1.2.9"}
    write_series(top / "two" / "mr", stored, prefix="MR", **other)
    (top / "frames").mkdir()
    write_enhanced(top / "frames" / "a.dcm", stored, heights_mm=range(0, 27, 3), intercepts=[-1024] * 9)
    for name, command in (("jpeg", "dcmcjpeg +e1"), ("jpeg-ls", "dcmcjpls")):
        if shutil.which(command.split()[0]):
            (top / name).mkdir()
            for path in (top / "downwards").iterdir():
                subprocess.run([*command.split(), path, top / name / path.name], check=True)
            read[name] = {}
    (top / "missing" / "IM093").unlink()
    write_series(top / "twice", stored[:1], prefix="X", **ct)
    write_series(top / "uneven", stored[:1], prefix="X", start=(-100, -120, 51.2), **ct)
    path = top / "short" / "IM093"
    path.write_bytes(path.read_bytes()[:-900])
    return {name: top / name for name in (*read, "padded", "two", "frames")}, {name: top / name for name in refused}


def test_every_series_gives_the_mask_of_predict_or_is_refused_in_its_words(
    segment_in_node: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    pytest.importorskip("pydicom")
    read, refused = series_of_all_kinds(tmp_path)
    model = write_artifact(tmp_path / "model.onnx", preprocessing=Preprocessing.for_modality("CT", image_size=32))
    answers = segment_in_node(model, [*read.values(), *refused.values()], tmp_path)
    predictor = embedded_vit.load(model)
    for number, folder in enumerate(read.values()):
        expected = predictor.predict(folder)
        expected.save(folder.with_suffix(".nii.gz"))
        there, here = nibabel.load(folder.with_suffix(".nii.gz")), nibabel.load(tmp_path / f"{number}.nii")
        np.testing.assert_array_equal(upright(here), upright(there), err_msg=folder.name)
        affines = (nibabel.as_closest_canonical(image).affine for image in (here, there))
        np.testing.assert_allclose(*affines, atol=1e-3, err_msg=folder.name)
        assert np.count_nonzero(upright(here)), folder.name
        assert answers[number]["warnings"] == list(expected.warnings), folder.name
    for folder, answer in zip(refused.values(), answers[len(read) :], strict=True):
        with pytest.raises(EmbeddedVitError) as error:
            predictor.predict(folder)
        assert answer["refused"] == str(error.value).replace(f"{tmp_path}/", ""), folder.name


def test_series_that_only_predict_reads_are_refused_and_the_page_says_so(
    segment_in_node: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    pytest.importorskip("pydicom")
    from dicom_fixtures import write_enhanced, write_series

    stored = block()
    write_series(tmp_path / "tilted", stored, step=(0, 0.8, 2.5), RescaleIntercept=-1024)
    (tmp_path / "scaled").mkdir()
    heights = range(0, 27, 3)
    write_enhanced(tmp_path / "scaled" / "a.dcm", stored, heights_mm=heights, intercepts=[*[-1024] * 8, -1000])
    for number in (4, 5):
        write_series(tmp_path / "two" / f"{number}", stored, SeriesNumber=number, SeriesInstanceUID=f"1.2.{number}")
    model = write_artifact(tmp_path / "model.onnx", preprocessing=Preprocessing.for_modality("CT", image_size=32))
    answers = segment_in_node(model, [tmp_path / name for name in ("tilted", "scaled", "two")], tmp_path)
    tilted, scaled, two = (answer["refused"] for answer in answers)
    assert tilted == "tilted: a tilted series, which the page does not read; segment it with `embedded-vit predict`"
    assert scaled.startswith("scaled: slices that are scaled differently, which the page does not read")
    assert two == "two: 2 series: number 4 (CT, 9 slices), number 5 (CT, 9 slices); give the files of one of them"


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
    page, model = page_of(tmp_path, preprocessing, dark_and_bright_graph(channels=3), labels=DARK_AND_BRIGHT)
    steps: list[dict[str, Any]] = [{"do": "open", "hash": "#streams=1"}]
    for name, picture in files.items():
        picture.save(tmp_path / name, dpi=(5500, 5500))  # pixels of 5 micrometres
        steps += [
            {"do": "choose", "files": [str(tmp_path / name)]},
            {"do": "save", "what": "mask", "path": str(tmp_path / f"mask-{name}.png")},
            {"do": "save", "what": "json", "path": str(tmp_path / f"mask-{name}.json")},
            {"do": "text", "where": "#structures"},
        ]
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes((tmp_path / "grey.png").read_bytes()[:-30])
    steps += [{"do": "axe"}, {"do": "choose", "files": [str(damaged)]}]
    answer = browse(page, steps, tmp_path)
    assert answer["requests"] == []
    assert answer["answers"][-1]["refused"] == "damaged.png: the picture is truncated or damaged; copy it again"
    assert answer["answers"][-2]["violations"] == []
    predictor = embedded_vit.load(model)
    for number, name in enumerate(files):
        expected = predictor.predict(tmp_path / name)
        mask = np.asarray(pillow.open(tmp_path / f"mask-{name}.png"))
        different = np.count_nonzero(mask != expected.mask.array[0])
        assert different <= (4 if name.endswith("jpg") else 0), name
        assert np.count_nonzero(mask)
        summary = json.loads((tmp_path / f"mask-{name}.json").read_text())
        assert summary["warnings"] == list(expected.warnings)
        if name.endswith("png"):
            assert summary["areas"] == expected.volumes
            assert summary["regions"] == expected.regions
            assert 0 < summary["regions"]["the dark"] < summary["regions"]["both"] < 0.1  # in mm2
            assert summary["unit"] == expected.unit == "mm2"
            assert "0" not in answer["answers"][1 + 4 * number + 3]["text"].split()
