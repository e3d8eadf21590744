"""Pictures are segmented: PNG masks, overlays and areas; what is no picture is refused by a model of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifact_fixtures import DARK_AND_BRIGHT, dark_and_bright_graph, threshold_graph
from PIL import Image

from embedded_vit.errors import ContractError, OutputError
from embedded_vit.evaluation.evaluating import evaluate
from embedded_vit.io.nifti import write_volume
from embedded_vit.predict.folder import Listener, predict_path
from embedded_vit.predict.predictor import Predictor
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import Volume

MakeArtifact = Callable[..., Path]
SIZE = 32
BRIGHT = np.zeros((SIZE, SIZE), bool)
BRIGHT[8:20, 4:28] = True


@pytest.fixture
def predictor(make_artifact: MakeArtifact) -> Predictor:
    """A model of RGB pictures that finds what is bright in red."""
    preprocessing = Preprocessing.for_modality("picture", channels=("R", "G", "B"), image_size=SIZE)
    return Predictor.load(make_artifact(threshold_graph(channels=3), preprocessing=preprocessing), threads=1)


def write_picture(path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((SIZE, SIZE, 3), (30, 200, 90), np.uint8)
    pixels[BRIGHT] = (220, 10, 90)
    Image.fromarray(pixels).save(path, **options)
    return path


def test_a_picture_gets_mask_overlay_and_areas(predictor: Predictor, tmp_path: Path) -> None:
    scan = write_picture(tmp_path / "photo.png")
    assert predict_path(predictor, scan, tmp_path / "mask.png") == [tmp_path / "mask.png"]
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, BRIGHT)
    summary = json.loads((tmp_path / "mask.json").read_text())
    assert summary["areas"] == {"bright": float(BRIGHT.sum())}
    assert (summary["unit"], summary["input_format"]) == ("pixels", "picture")
    overlay = np.asarray(Image.open(tmp_path / "mask_overlay.png"))
    assert overlay.shape == (SIZE, SIZE, 3)
    np.testing.assert_array_equal(overlay[~BRIGHT], np.broadcast_to((30, 200, 90), overlay[~BRIGHT].shape))
    assert (overlay[BRIGHT] != (220, 10, 90)).any(axis=1).all()


def test_areas_are_in_mm2_where_the_file_says_the_size_of_pixels(predictor: Predictor, tmp_path: Path) -> None:
    scan = write_picture(tmp_path / "photo.png", dpi=(25.4 / 0.2, 25.4 / 0.2))
    predict_path(predictor, scan, tmp_path / "mask.png")
    summary = json.loads((tmp_path / "mask.json").read_text())
    assert summary["unit"] == "mm2"
    assert summary["areas"]["bright"] == pytest.approx(BRIGHT.sum() * 0.04, rel=2e-3)


def test_a_region_of_a_picture_of_fine_pixels_is_as_large_as_its_structures(
    make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    preprocessing = Preprocessing.for_modality("picture", channels=("R", "G", "B"), image_size=SIZE)
    graph = dark_and_bright_graph(channels=3)
    predictor = Predictor.load(make_artifact(graph, preprocessing=preprocessing, labels=DARK_AND_BRIGHT), threads=1)
    pixel_mm = 0.0006
    scan = write_picture(tmp_path / "cells.png", dpi=(25.4 / pixel_mm, 25.4 / pixel_mm))
    predict_path(predictor, scan, tmp_path / "mask.png")
    summary = json.loads((tmp_path / "mask.json").read_text())
    areas, regions = summary["areas"], summary["regions"]
    assert summary["unit"] == "mm2"
    assert areas["bright"] == pytest.approx(BRIGHT.sum() * pixel_mm**2, abs=1e-6)
    assert areas["dark"] == pytest.approx((~BRIGHT).sum() * pixel_mm**2, abs=1e-6)
    assert 0 < regions["the dark"] == areas["dark"] < 0.0005  # which 3 decimals would make 0
    assert regions["both"] == round(areas["bright"] + areas["dark"], 6)


def test_a_folder_of_pictures_goes_on_and_leaves_its_own_masks(predictor: Predictor, tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "c_0000.tif"):
        write_picture(tmp_path / "scans" / "images" / name)
    Image.fromarray(BRIGHT).save(write_picture(tmp_path / "scans" / "masks" / "a.png"))
    remarks: list[str] = []
    for _ in range(2):
        listener = Listener(on_remark=remarks.append)
        masks = predict_path(predictor, tmp_path / "scans", tmp_path / "out", listener=listener)
        assert [path.name for path in masks] == ["a.png", "b.png", "c_0000.png"]
    assert any("3 were there already" in remark for remark in remarks)
    assert any("masks: masks of a data set" in remark for remark in remarks)
    remarks.clear()
    with pytest.raises(Exception, match="no scan"):
        predict_path(predictor, tmp_path / "out", tmp_path / "again", listener=Listener(on_remark=remarks.append))
    assert len([remark for remark in remarks if "a mask of this program" in remark]) == 6  # three with overlays


def test_masks_have_the_format_of_their_scans(
    predictor: Predictor, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    scan = write_picture(tmp_path / "photo.png")
    with pytest.raises(OutputError, match="masks of pictures are written as PNG"):
        predict_path(predictor, scan, tmp_path / "mask.nii.gz")
    write_volume(tmp_path / "ct.nii.gz", Volume(np.zeros((1, 4, 4, 4), np.int16), np.eye(4)))
    of_ct = Predictor.load(make_artifact(name="ct.onnx"), threads=1)
    with pytest.raises(OutputError, match="masks are written as NIfTI"):
        predict_path(of_ct, tmp_path / "ct.nii.gz", tmp_path / "m.png")


def test_models_take_their_own_kind(predictor: Predictor, make_artifact: MakeArtifact, tmp_path: Path) -> None:
    of_ct = Predictor.load(make_artifact(name="ct.onnx"), threads=1)
    with pytest.raises(ContractError, match="the modality is picture, the artifact is made for CT"):
        of_ct.predict(grey(tmp_path / "grey.png"))
    volume = Volume(np.zeros((3, SIZE, SIZE, 5), np.int16), np.eye(4))
    write_volume(tmp_path / "mr.nii.gz", volume)
    with pytest.raises(ContractError, match="a NIfTI file, the artifact is made for pictures"):
        predictor.predict(tmp_path / "mr.nii.gz")


def grey(path: Path) -> Path:
    Image.fromarray(np.full((SIZE, SIZE), 99, np.uint8)).save(path)
    return path


def test_a_picture_larger_than_the_memory_gives_the_same_mask(predictor: Predictor, tmp_path: Path) -> None:
    scan = write_picture(tmp_path / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "_room_bytes", lambda self, memory_bytes: 0)
        prediction = predictor.predict(scan)
    np.testing.assert_array_equal(prediction.mask.get(0), BRIGHT)


def test_pictures_are_evaluated_in_their_plane(make_artifact: MakeArtifact, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_picture(tmp_path / "data" / "images" / f"{name}.png")
        (tmp_path / "data" / "masks").mkdir(exist_ok=True)
        shifted = np.roll(BRIGHT, 2, axis=1)
        Image.fromarray(shifted.astype(np.uint8) * 255).save(tmp_path / "data" / "masks" / f"{name}.png")
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "bright": 1}}))
    preprocessing = Preprocessing.for_modality("picture", channels=("R", "G", "B"), image_size=SIZE)
    model = make_artifact(threshold_graph(channels=3), preprocessing=preprocessing)
    evaluation = evaluate(model, tmp_path / "data", output=tmp_path / "out", threads=1, bars=False)
    assert evaluation.summaries["dice"].overall.mean == pytest.approx(22 / 24)
    assert evaluation.summaries["hd95"].overall.mean == 2  # of lines; were all pixels borders, it would be less
    assert "data:image/png" in (tmp_path / "out" / "report.html").read_text()
