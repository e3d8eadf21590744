"""DICOM segmentations equal the mask voxel by voxel, wherever the slices of their series lie."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_fixtures import SECRET, write_enhanced, write_series
from highdicom.seg import segread

from embedded_vit.clinic.segmentation_object import SegmentationObject
from embedded_vit.contract import Contract
from embedded_vit.errors import InputError
from embedded_vit.io.dicom.label_masks import structure_masks
from embedded_vit.io.dicom.label_objects import read_label_object
from embedded_vit.io.scan_source import open_scan
from embedded_vit.labels import SYNAPSE_LABELS, LabelSet
from embedded_vit.predict.predictor import Prediction
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import LabelMap

FLIPS = [(across, down, up) for across in (1, -1) for down in (1, -1) for up in (1, -1)]
ROTATED = np.linalg.qr(np.array([[0.9, 0.2, -0.1], [-0.3, 0.8, 0.4], [0.2, -0.4, 1.0]]))[0].T
CONTRACT = Contract(preprocessing=Preprocessing.for_modality("CT", image_size=32), labels=SYNAPSE_LABELS)


def stored_series() -> np.ndarray:
    return np.random.default_rng(1).integers(-1000, 400, (6, 20, 24)).astype(np.int16)


def prediction_of(folder: Path, *, labels: LabelSet = SYNAPSE_LABELS, missing: Sequence[int] = ()) -> Prediction:
    """A prediction of random labels on the grid of a series."""
    source = open_scan(folder)
    scan = source.read()
    array = np.random.default_rng(2).integers(0, len(labels.labels) + 1, scan.shape).astype(np.uint8)
    array[np.isin(array, missing)] = 0
    return Prediction(
        mask=LabelMap(array, scan.affine),
        labels=labels,
        volumes=dict.fromkeys(labels.names, 1.0),
        seconds={},
        model="abdomen-ct",
        model_sha256="ab" * 32,
        engine="onnxruntime 1",
        input_format="DICOM",
        input_sha256="cd" * 32,
        forced=False,
        warnings=(),
        geometry=source.geometry,
        kept=(scan, source),
    )


def write(folder: Path, path: Path, *, labelmap: bool = False, **options: object) -> Prediction:
    prediction = prediction_of(folder, **options)
    SegmentationObject(labelmap=labelmap).write(path, prediction, CONTRACT)
    return prediction


def frames_on_grid(path: Path, prediction: Prediction) -> np.ndarray:
    """Put each frame of a SEG where its own position says, by nothing but the tags and the affine of the scan."""
    segmentation = pydicom.dcmread(path)
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    to_index = np.linalg.inv(prediction.mask.affine)
    found = np.zeros(prediction.mask.shape, np.uint8)
    for frame, groups in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float) * [-1, -1, 1]
        column, row, index = (to_index @ [*position, 1])[:3]
        assert np.allclose((column, row, index), (0, 0, round(index)), atol=0.01)
        if segmentation.SegmentationType == "LABELMAP":
            found[..., round(index)] = frame.T
        else:
            number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            found[..., round(index)][frame.T == 1] = number
    return found


def series_at(folder: Path, directions: np.ndarray, *, reverse: bool = False, tilt_mm: float = 0.0) -> None:
    """Write a series whose columns, rows and slices run along the three rows of `directions` (LPS+)."""
    step = 2.5 * directions[2] + tilt_mm * directions[1]
    stored = stored_series()
    write_series(
        folder,
        stored[::-1] if reverse else stored,
        step=-step if reverse else step,
        ImageOrientationPatient=np.round(directions[:2].ravel(), 9).tolist(),
    )


def flipped(flip: tuple[int, int, int]) -> np.ndarray:
    return np.diag(np.array(flip, float))


SERIES = {f"flip {flip}": (flipped(flip), False, 0.0) for flip in FLIPS} | {
    "slices downwards": (np.eye(3), True, 0.0),
    "oblique": (ROTATED, False, 0.0),
    "oblique, slices the other way": (ROTATED * [[1], [1], [-1]], False, 0.0),
    "tilted": (np.eye(3), False, 0.7),
    "oblique and tilted": (ROTATED, True, -0.6),
}


@pytest.mark.parametrize("labelmap", [False, True], ids=["binary", "labelmap"])
@pytest.mark.parametrize("name", SERIES)
def test_a_segmentation_equals_the_mask_frame_by_frame(tmp_path: Path, name: str, labelmap: bool) -> None:
    directions, reverse, tilt_mm = SERIES[name]
    series_at(tmp_path / "series", directions, reverse=reverse, tilt_mm=tilt_mm)
    prediction = write(tmp_path / "series", tmp_path / "seg.dcm", labelmap=labelmap)
    np.testing.assert_array_equal(frames_on_grid(tmp_path / "seg.dcm", prediction), prediction.mask.array)
    if not tilt_mm and not labelmap:  # a second way back, by highdicom, which takes no tilted volume
        masks = structure_masks(read_label_object(tmp_path / "seg.dcm"), SYNAPSE_LABELS.names, prediction.kept[1])
        for label in SYNAPSE_LABELS.labels:
            np.testing.assert_array_equal(masks[label.name], prediction.mask.array == label.id)


@pytest.mark.parametrize("name", ["tilted", "oblique and tilted", "slices downwards"])
def test_highdicom_reads_the_same_frames_of_the_same_images(tmp_path: Path, name: str) -> None:
    directions, reverse, tilt_mm = SERIES[name]
    series_at(tmp_path / "series", directions, reverse=reverse, tilt_mm=tilt_mm)
    prediction = write(tmp_path / "series", tmp_path / "seg.dcm", missing=(3,))
    headers = [pydicom.dcmread(path) for path in (tmp_path / "series").iterdir()]
    places = np.array([np.array(header.ImagePositionPatient, float) * [-1, -1, 1] for header in headers])
    planes = (np.linalg.inv(prediction.mask.affine) @ np.c_[places, np.ones(len(places))].T)[2]
    found = segread(tmp_path / "seg.dcm").get_pixels_by_source_instance(
        [str(header.SOPInstanceUID) for header in headers], combine_segments=True, assert_missing_frames_are_empty=True
    )
    for frame, plane in zip(found, planes, strict=True):
        np.testing.assert_array_equal(frame.T, prediction.mask.array[..., round(plane)])


@pytest.mark.parametrize("heights_mm", [(30, 33, 36, 39, 42, 45), (42, 30, 45, 36, 33, 39)], ids=["sorted", "mixed"])
def test_frames_of_one_file_are_referred_to_in_their_own_order(tmp_path: Path, heights_mm: tuple[int, ...]) -> None:
    (tmp_path / "series").mkdir()
    write_enhanced(tmp_path / "series" / "all", stored_series(), heights_mm=heights_mm, intercepts=[0] * 6)
    prediction = write(tmp_path / "series", tmp_path / "seg.dcm")
    np.testing.assert_array_equal(frames_on_grid(tmp_path / "seg.dcm", prediction), prediction.mask.array)


def test_frames_refer_to_the_images_that_lie_where_they_do(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "series", stored_series())
    sources = [pydicom.dcmread(path) for path in paths]
    at = {str(each.SOPInstanceUID): list(each.ImagePositionPatient) for each in sources}
    write(tmp_path / "series", tmp_path / "seg.dcm")
    segmentation = pydicom.dcmread(tmp_path / "seg.dcm")
    for groups in segmentation.PerFrameFunctionalGroupsSequence:
        (image,) = groups.DerivationImageSequence[0].SourceImageSequence
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert at[image.ReferencedSOPInstanceUID] == list(position)
    (series,) = segmentation.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "1.2.3"
    assert {each.ReferencedSOPInstanceUID for each in series.ReferencedInstanceSequence} == set(at)
    assert (segmentation.StudyInstanceUID, segmentation.FrameOfReferenceUID) == ("1.2.4", "1.2.5")


def test_a_missing_structure_has_a_segment_without_frames(tmp_path: Path) -> None:
    write_series(tmp_path / "series", stored_series())
    prediction = write(tmp_path / "series", tmp_path / "seg.dcm", missing=(2, 8))
    segmentation = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [each.SegmentNumber for each in segmentation.SegmentSequence] == list(range(1, 9))
    shown = {
        groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for groups in segmentation.PerFrameFunctionalGroupsSequence
    }
    assert shown == {1, 3, 4, 5, 6, 7}
    np.testing.assert_array_equal(frames_on_grid(tmp_path / "seg.dcm", prediction), prediction.mask.array)


def test_an_empty_mask_can_be_written(tmp_path: Path) -> None:
    write_series(tmp_path / "series", stored_series())
    prediction = write(tmp_path / "series", tmp_path / "seg.dcm", missing=range(9))
    assert not frames_on_grid(tmp_path / "seg.dcm", prediction).any()


def test_segments_say_what_they_are_and_what_made_them(tmp_path: Path) -> None:
    write_series(tmp_path / "series", stored_series())
    write(tmp_path / "series", tmp_path / "seg.dcm")
    segmentation = pydicom.dcmread(tmp_path / "seg.dcm")
    assert segmentation.SegmentationType == "BINARY"
    assert segmentation.SeriesDescription == "Research use only: segmentation by abdomen-ct"
    assert str(segmentation.PatientName) == f"{SECRET}^Erika"
    liver = segmentation.SegmentSequence[4]
    (code,) = liver.SegmentedPropertyTypeCodeSequence
    assert (liver.SegmentLabel, code.CodeValue, code.CodingSchemeDesignator) == ("liver", "10200004", "SCT")
    assert liver.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("abdomen-ct", "0.1.0")
    assert "ab" * 32 in str(algorithm.AlgorithmParameters)
    lightness, red_green, blue_yellow = (value / 65535 for value in liver.RecommendedDisplayCIELabValue)
    # #B5651D: L* = 50.3, a* = 27.4, b* = 50.6 by the formulas of CIE 15 under D65 or, within 5, D50
    assert (lightness * 100, red_green * 255 - 128, blue_yellow * 255 - 128) == pytest.approx((50.3, 27.4, 50.6), abs=5)


def test_the_same_mask_has_the_same_uid_and_another_one_another(tmp_path: Path) -> None:
    write_series(tmp_path / "series", stored_series())
    for name, options in {"first": {}, "again": {}, "other": {"missing": (1,)}, "map": {"labelmap": True}}.items():
        write(tmp_path / "series", tmp_path / name, **options)
    uid = {name: pydicom.dcmread(tmp_path / name).SOPInstanceUID for name in ("first", "again", "other", "map")}
    assert uid["first"] == uid["again"]
    assert len(set(uid.values())) == 3
    assert all(each.is_valid for each in uid.values())


def test_names_in_other_alphabets_are_copied(tmp_path: Path) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    write_series(tmp_path / "series", stored_series(), SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=name)
    write(tmp_path / "series", tmp_path / "seg.dcm")
    assert str(pydicom.dcmread(tmp_path / "seg.dcm").PatientName) == name


def test_what_was_left_out_of_a_series_is_made_up_and_told(tmp_path: Path) -> None:
    removed = dict.fromkeys(["PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"])
    write_series(tmp_path / "series", stored_series(), PatientSex="unknown", StudyDate="last May", **removed)
    (told,) = SegmentationObject().check(open_scan(tmp_path / "series"))
    assert told.startswith("the series has no StudyInstanceUID, no FrameOfReferenceUID: made up")
    write(tmp_path / "series", tmp_path / "seg.dcm")
    segmentation = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (segmentation.PatientID, segmentation.PatientSex, segmentation.StudyDate) == ("", "", "")
    assert segmentation.StudyInstanceUID.startswith("2.25.")


@pytest.mark.parametrize("labelmap", [False, True], ids=["binary", "labelmap"])
def test_writing_takes_a_few_bytes_a_voxel(tmp_path: Path, labelmap: bool) -> None:
    write_series(tmp_path / "series", np.zeros((40, 128, 128), np.int16))
    prediction = prediction_of(tmp_path / "series", missing=range(3, 9))
    tracemalloc.start()
    SegmentationObject(labelmap=labelmap).write(tmp_path / "seg.dcm", prediction, CONTRACT)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 * prediction.mask.array.size + 2**22  # headers of 40 slices


def test_a_scan_that_is_not_dicom_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), path)
    with pytest.raises(InputError, match=r"scan.nii.gz: NIfTI; a DICOM segmentation refers to .* --format nifti$"):
        SegmentationObject().check(open_scan(path))


DCMQI = shutil.which("segimage2itkimage", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@pytest.mark.skipif(DCMQI is None, reason="dcmqi is not installed")
@pytest.mark.parametrize("name", [*(name for name in SERIES if "tilted" not in name), "many frames", "mixed frames"])
def test_dcmqi_reads_the_same_voxels(tmp_path: Path, name: str) -> None:
    if name in SERIES:
        directions, reverse, tilt_mm = SERIES[name]
        series_at(tmp_path / "series", directions, reverse=reverse, tilt_mm=tilt_mm)
    else:
        (tmp_path / "series").mkdir()
        heights_mm = (42, 30, 45, 36, 33, 39) if name == "mixed frames" else (30, 33, 36, 39, 42, 45)
        write_enhanced(tmp_path / "series" / "all", stored_series(), heights_mm=heights_mm, intercepts=[0] * 6)
    prediction = write(tmp_path / "series", tmp_path / "seg.dcm", missing=(3,))
    (tmp_path / "out").mkdir()
    command = [DCMQI, "-t", "nifti", "--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory"]
    subprocess.run([*map(str, command), str(tmp_path / "out")], check=True, capture_output=True)
    found = np.zeros(prediction.mask.shape, np.uint8)
    for label in SYNAPSE_LABELS.labels:
        for path in (tmp_path / "out").glob(f"{label.id}.nii*"):
            image = nibabel.load(path)
            places = np.argwhere(np.asarray(image.dataobj) > 0)
            to_index = np.linalg.inv(prediction.mask.affine) @ image.affine
            index = places @ to_index[:3, :3].T + to_index[:3, 3]
            np.testing.assert_allclose(index, np.rint(index), atol=0.01)
            found[tuple(np.rint(index).astype(int).T)] = label.id
    np.testing.assert_array_equal(found, prediction.mask.array)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="Debian's dicom3tools are not installed")
@pytest.mark.parametrize("name", ["flip (1, 1, 1)", "oblique", "tilted"])
def test_dciodvfy_finds_no_error(tmp_path: Path, name: str) -> None:
    directions, reverse, tilt_mm = SERIES[name]
    series_at(tmp_path / "series", directions, reverse=reverse, tilt_mm=tilt_mm)
    write(tmp_path / "series", tmp_path / "seg.dcm", missing=(3,))
    checked = subprocess.run(["dciodvfy", str(tmp_path / "seg.dcm")], capture_output=True, text=True, check=False)
    assert [line for line in (checked.stdout + checked.stderr).splitlines() if line.startswith("Error")] == []
