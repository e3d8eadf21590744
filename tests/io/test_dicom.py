"""A DICOM series becomes the volume that it is, and what is no volume is refused in one line without patient text."""

from __future__ import annotations

import shutil
import struct
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_fixtures import AXIAL, SECRET, make_slice, write_enhanced, write_series
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    BasicTextSRStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from embedded_vit.errors import FileFormatError
from embedded_vit.io.dicom import DicomSource, find_series, holds_dicom
from embedded_vit.io.nifti import read_labels
from embedded_vit.volume import Volume

SHAPE = (5, 33, 34)  # slices, rows, columns; the encoder of JPEG 2000 wants 32 of each
SPACING = b"0.8\\0.6 "


@pytest.fixture
def stored() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, SHAPE).astype(np.int16)


def read(folder: Path, **options: Any) -> Volume:
    return DicomSource(find_series(folder, **({"modality": "CT"} | options))).read()


def intensities(volume: Volume) -> np.ndarray:
    """(slices, rows, columns) real intensities, in the order of the DICOM slices."""
    return volume.array[0].T.astype(np.float64) * volume.slope + volume.intercept


def refused(folder: Path, pattern: str, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none may be shown: pydicom's quote values
        with pytest.raises(FileFormatError, match=pattern) as caught:
            read(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    assert SECRET not in message


def change(path: Path, **tags: Any) -> None:
    """Overwrite tags of a file, or remove them (None)."""
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def replace(path: Path, old: bytes, new: bytes) -> None:
    """Exchange bytes that are in a file once, for values that pydicom would not write."""
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_slices_are_found_by_content_and_sorted_by_place(tmp_path: Path, stored: np.ndarray) -> None:
    paths = write_series(tmp_path, stored, RescaleSlope=2, RescaleIntercept=-1024)
    assert paths[0] > paths[1]
    (tmp_path / "notes.dcm").write_text("no DICOM")
    (tmp_path / "empty").touch()
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    volume = read(tmp_path)
    assert volume.array.dtype == np.int16
    assert (volume.slope, volume.intercept) == (2, -1024)
    np.testing.assert_array_equal(volume.array[0].T, stored)
    expected = [[-0.6, 0, 0, 100], [0, -0.8, 0, 120], [0, 0, 2.5, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.affine, expected, atol=1e-9)


@pytest.mark.parametrize(
    "directions",
    [AXIAL, (-1, 0, 0, 0, -1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (0.96, 0.28, 0, -0.28, 0.96, 0)],
    ids=["axial", "prone", "sagittal", "coronal", "oblique"],
)
@pytest.mark.parametrize("upwards", [1, -1])
def test_every_voxel_lies_where_the_standard_says(
    tmp_path: Path, stored: np.ndarray, directions: tuple[float, ...], upwards: int
) -> None:
    """PS3.3 equation C.7.6.2.1-1, for a voxel that only one slice has."""
    stored[3, 4, 2] = 2999
    across, down = np.array(directions).reshape(2, 3)
    step = upwards * 2.5 * np.cross(across, down)
    write_series(tmp_path, stored, step=step, ImageOrientationPatient=list(directions))
    volume = read(tmp_path).reoriented()
    index = np.argwhere(volume.array[0] == 2999)[0]
    lps = np.array([-100, -120, 30]) + 3 * step + 2 * 0.6 * across + 4 * 0.8 * down
    np.testing.assert_allclose(volume.affine @ [*index, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-5)


def test_a_tilted_gantry_is_in_the_affine(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored, step=(0, -0.7, 2.4))
    np.testing.assert_allclose(read(tmp_path).affine[:3, 2], [0, 0.7, 2.4], atol=1e-6)


def test_slices_scaled_differently_become_intensities(tmp_path: Path, stored: np.ndarray) -> None:
    for index, plane in enumerate(stored):
        write_series(tmp_path, plane[None], start=(0, 0, 2 * index), prefix=f"{index}-", RescaleSlope=1 + index)
    volume = read(tmp_path)
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(intensities(volume), stored * np.arange(1.0, 6)[:, None, None], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4"])
@pytest.mark.parametrize("syntax", [None, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_numbers_are_those_stored_however_they_are_stored(
    tmp_path: Path, stored: np.ndarray, dtype: str, syntax: str | None
) -> None:
    if syntax is not None and dtype == "i4":
        pytest.skip("pydicom does not write it")
    stored = (stored % 200 - (100 if dtype[0] == "i" else 0)).astype(dtype)
    write_series(tmp_path, stored, **({"syntax": syntax} if syntax else {}))
    volume = read(tmp_path)
    assert volume.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.array[0].T, stored)


def test_monochrome1_is_shown_otherwise_but_means_the_same(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(intensities(read(tmp_path)), stored)


def test_padding_becomes_air(tmp_path: Path, stored: np.ndarray) -> None:
    stored[:, 0], stored[:, 1] = 2000, 2003
    write_series(tmp_path / "ct", stored, RescaleIntercept=-24, PixelPaddingValue=2000, PixelPaddingRangeLimit=2003)
    np.testing.assert_array_equal(intensities(read(tmp_path / "ct"))[:, :2], -1000)
    np.testing.assert_array_equal(intensities(read(tmp_path / "ct"))[:, 2:], stored[:, 2:] - 24)
    write_series(tmp_path / "mr", stored, Modality="MR", PixelPaddingValue=2000)
    assert not intensities(read(tmp_path / "mr", modality="MR"))[:, 0].any()


def test_padding_may_be_written_without_its_sign(tmp_path: Path, stored: np.ndarray) -> None:
    stored[:, 0] = -2000
    write_series(tmp_path, stored, PixelPaddingValue=-2000)
    for path in tmp_path.iterdir():
        replace(path, b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US")  # 63536
    np.testing.assert_array_equal(intensities(read(tmp_path))[:, 0], -1000)


def test_a_file_of_many_frames(tmp_path: Path, stored: np.ndarray) -> None:
    heights, intercepts = np.array([4.0, 0, 8, 2, 6]), [-1000, -1000, -1000, -1000, -900]
    write_enhanced(tmp_path / "frames", stored, heights_mm=heights, intercepts=intercepts)
    expected = (stored + np.array(intercepts)[:, None, None])[np.argsort(heights)]
    np.testing.assert_array_equal(intensities(read(tmp_path)), expected)
    np.testing.assert_allclose(read(tmp_path).affine[:3, 2], [0, 0, 2])


def test_many_frames_compressed(tmp_path: Path, stored: np.ndarray) -> None:
    write_enhanced(tmp_path / "raw", stored, heights_mm=range(5), intercepts=[0] * 5)
    dataset = pydicom.dcmread(tmp_path / "raw")
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "raw")
    np.testing.assert_array_equal(intensities(read(tmp_path)), stored)


def test_many_frames_of_two_volumes_are_refused(tmp_path: Path, stored: np.ndarray) -> None:
    write_enhanced(tmp_path / "frames", stored, heights_mm=[0, 1, 2, 0, 1], intercepts=[0] * 5)
    refused(tmp_path, "at the same place")


def test_frames_without_places_are_refused(tmp_path: Path, stored: np.ndarray) -> None:
    make_slice(stored, NumberOfFrames=5).save_as(tmp_path / "frames", enforce_file_format=True)
    refused(tmp_path, "5 frames, but 1 positions")


def test_from_disk_it_is_the_same_scan(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored, step=(2.5, 0, 0), ImageOrientationPatient=[0, 1, 0, 0, 0, -1], RescaleIntercept=-9)
    source = DicomSource(find_series(tmp_path, modality="CT"))
    in_memory, on_disk = source.read().reoriented(), source.spool(tmp_path).reoriented()
    assert in_memory.shape == on_disk.shape
    np.testing.assert_array_equal(in_memory.affine, on_disk.affine)
    for index in range(in_memory.shape[0]):
        np.testing.assert_array_equal(in_memory.intensities(index), on_disk.intensities(index))


def test_rounded_places_are_even_enough(tmp_path: Path, stored: np.ndarray) -> None:
    for index, plane in enumerate(stored):
        height = round(30 + 0.625 * index, 1)
        write_series(tmp_path, plane[None], start=(0, 0, height), prefix=f"{index}-")
    np.testing.assert_allclose(read(tmp_path).spacing_mm[2], 0.625, atol=0.02)


def test_a_single_slice_is_as_thick_as_it_says(tmp_path: Path, stored: np.ndarray) -> None:
    [path] = write_series(tmp_path, stored[:1])
    assert read(tmp_path).spacing_mm == pytest.approx((0.6, 0.8, 3))
    change(path, SliceThickness=None)
    refused(tmp_path, "single slice without a SliceThickness")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda paths: paths[2].unlink(), "slices missing between the first and the last: 1"),
        (lambda paths: shutil.copy(paths[2], paths[2].with_name("copy")), "at the same place"),
        (lambda paths: change(paths[2], ImagePositionPatient=[-100, -120, 36]), "2.5 to 3.5|1.5 to 3.5 mm apart"),
        (lambda paths: change(paths[2], ImagePositionPatient=[-90, -120, 35]), "10 mm beside"),
        (lambda paths: change(paths[2], ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "direction or spacing"),
        (lambda paths: change(paths[2], PixelSpacing=[0.8, 0.7]), "direction or spacing"),
        (lambda paths: change(paths[2], Rows=3), "one size and type"),
        (lambda paths: change(paths[2], PixelRepresentation=0), "one size and type"),
        (lambda paths: change(paths[2], PhotometricInterpretation="RGB"), "colour"),
        (lambda paths: change(paths[2], SamplesPerPixel=3), "colour"),
        (lambda paths: change(paths[2], BitsAllocated=1), "1 bits per pixel"),
        (lambda paths: change(paths[2], Rows=None), "damaged: no Rows or Columns"),
        (lambda paths: change(paths[2], Rows=60000, Columns=60000), "no scanner makes"),
        (lambda paths: change(paths[2], Rows=20000, Columns=20000), "no scanner makes"),
        (lambda paths: change(paths[2], Rows=4000, Columns=4000), "truncated"),
        (lambda paths: change(paths[2], PixelSpacing=[0, 0.6]), "PixelSpacing is 0, 0.6"),
        (lambda paths: change(paths[2], PixelSpacing=None), "no PixelSpacing"),
        (lambda paths: replace(paths[2], SPACING, b"nan\\nan "), "PixelSpacing is not 2 finite numbers"),
        (lambda paths: replace(paths[2], SPACING, SECRET.encode()), "damaged"),
        (lambda paths: change(paths[2], ImagePositionPatient=[1, 2]), "not 3 finite numbers"),
        (lambda paths: change(paths[2], ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "is not a rotation"),
        (lambda paths: change(paths[2], ImageOrientationPatient=[0] * 6), "is not a rotation"),
        (lambda paths: change(paths[2], RescaleSlope=0), "RescaleSlope is 0, too near"),
        (lambda paths: change(paths[2], RescaleSlope="1e99"), "RescaleSlope is not a finite number"),
        (lambda paths: change(paths[2], ImagePositionPatient=["1e300", 0, 0]), "not 3 finite numbers"),
        (lambda paths: change(paths[2], RescaleType="ED"), "not in HU"),
        (lambda paths: change(paths[2], PixelData=None), "truncated"),
        (lambda paths: paths[2].write_bytes(paths[2].read_bytes()[:-2]), "truncated"),
        (lambda paths: paths[2].write_bytes(paths[2].read_bytes()[:400]), "truncated"),
        (lambda paths: paths[2].write_bytes(paths[2].read_bytes()[:140]), "truncated"),
    ],
)
def test_what_is_no_volume_is_refused_in_one_line(
    tmp_path: Path, stored: np.ndarray, spoil: Callable[[list[Path]], object], message: str
) -> None:
    spoil(write_series(tmp_path, stored))
    refused(tmp_path, message)


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        (JPEGLosslessSV1, "a slice compressed with JPEG is not 33 x 34 pixels"),
        ("1.2.3.4", "in a way unknown here"),
    ],
)
def test_what_cannot_be_decoded_says_what_to_do(tmp_path: Path, stored: np.ndarray, syntax: str, message: str) -> None:
    dataset = make_slice(stored[0])
    if syntax == JPEGLosslessSV1:
        dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "slice", enforce_file_format=True, implicit_vr=False, little_endian=True)
    refused(tmp_path, message)


def test_a_compressed_slice_cannot_grow_past_its_header(tmp_path: Path) -> None:
    dataset = make_slice(np.zeros((32, 32), np.uint16), syntax=JPEG2000Lossless)
    frame = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    assert struct.unpack_from(">4I", frame, 8) == (32, 32, 0, 0)
    for width, height in ((32, 30000), (30000, 32)):
        struct.pack_into(">2I", frame, 8, width, height)
        dataset.PixelData = encapsulate([bytes(frame)])
        dataset.save_as(tmp_path / "slice", enforce_file_format=True)
        refused(tmp_path, "is not 32 x 32 pixels")
    dataset = make_slice(np.zeros((32, 32), np.uint16), syntax=RLELossless)
    dataset.PixelData = encapsulate([bytes(10_000)])
    dataset.save_as(tmp_path / "slice", enforce_file_format=True)
    refused(tmp_path, "larger than the slice itself")


def test_among_several_series_the_one_of_the_modality_is_taken(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored, prefix="ct")
    write_series(tmp_path, stored, prefix="mr", Modality="MR", SeriesInstanceUID="1.2.4", SeriesNumber=5)
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesInstanceUID": "1.2.5", "SeriesNumber": 1}
    write_series(tmp_path, stored[:1], prefix="scout", **scout)
    report = make_slice(stored[0], Modality="SR", SeriesInstanceUID="1.2.6", Rows=None, SOPClassUID=BasicTextSRStorage)
    report.save_as(tmp_path / "report", enforce_file_format=True)
    assert str(find_series(tmp_path, modality="CT")) == "number 4 (CT, 5 slices)"
    assert find_series(tmp_path, modality="MR").number == 5
    assert find_series(tmp_path, modality="CT", number=5).modality == "MR"
    refused(tmp_path, r"none is number 9: number 4 \(CT, 5 slices\), number 5 \(MR, 5 slices\); .*--series", number=9)


def test_several_series_of_the_modality_must_be_told_apart(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored, prefix="a")
    write_series(tmp_path, stored[:3], prefix="b", SeriesInstanceUID="1.2.4", SeriesNumber=7)
    refused(tmp_path, r"2 series: number 4 \(CT, 5 slices\), number 7 \(CT, 3 slices\); choose one with --series")
    assert read(tmp_path, number=7).shape[2] == 3
    write_series(tmp_path, stored[:3], prefix="c", SeriesInstanceUID="1.2.5", SeriesNumber=7)
    refused(tmp_path, "2 series: .* a folder of its own", number=7)


def test_the_only_series_is_found_whatever_its_modality(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored, Modality="MR")
    assert find_series(tmp_path, modality="CT").modality == "MR"


def test_a_modality_is_named_only_where_the_standard_has_it(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored, Modality=SECRET.upper())
    assert find_series(tmp_path, modality="CT").modality == "unknown"


def test_series_without_an_identity_are_one(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored, SeriesInstanceUID="", SeriesNumber=None)
    assert str(find_series(tmp_path, modality="CT")) == "number unknown (CT, 5 slices)"
    np.testing.assert_array_equal(intensities(read(tmp_path)), stored)


def test_a_folder_without_placed_images_is_refused(tmp_path: Path, stored: np.ndarray) -> None:
    assert not holds_dicom(tmp_path)
    write_series(tmp_path, stored, ImagePositionPatient=None)
    assert holds_dicom(tmp_path)
    refused(tmp_path, "says where it lies")


def test_the_digest_is_of_the_content_alone(tmp_path: Path, stored: np.ndarray) -> None:
    paths = write_series(tmp_path / "a", stored)
    (tmp_path / "b").mkdir()
    for number, path in enumerate(paths):
        shutil.copy(path, tmp_path / "b" / f"{number}.dcm")
    digests = [find_series(tmp_path / folder, modality="CT").sha256() for folder in "ab"]
    change(tmp_path / "b" / "0.dcm", RescaleIntercept=-1)
    assert digests[0] == digests[1] != find_series(tmp_path / "b", modality="CT").sha256()


def test_without_pydicom_the_command_to_install_it_is_named(
    tmp_path: Path, stored: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path, stored)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.delitem(sys.modules, "embedded_vit.io.dicom.header", raising=False)
    refused(tmp_path, r"pip install 'embedded-vit\[dicom\]'")


def test_a_real_series_lies_where_its_segmentation_does(shared_folder: Path) -> None:
    folder = shared_folder / "data" / "readers" / "totalsegmentator_ct"
    scan = read(folder / "example_ct_dicom").reoriented()  # JPEG 2000, SeriesInstanceUID removed
    labels = read_labels(folder / "example_seg_dicom.nii.gz").reoriented()
    assert scan.shape == labels.shape
    np.testing.assert_allclose(scan.affine, labels.affine, atol=1e-3)
    hounsfield = scan.array[0] * scan.slope + scan.intercept
    for number in (1, 5):  # spleen and liver, with contrast medium
        inside = hounsfield[labels.array == number]
        assert 60 < inside.mean() < 120
        assert inside.std() < 30


def test_real_series_among_segmentations_and_structure_sets(shared_folder: Path) -> None:
    readers = shared_folder / "data" / "readers"
    for folder, shape, spacing in (
        ("dcmqi_ct_seg/ct-3slice", (512, 512, 3), (0.810547, 0.810547, 1)),
        ("rtstruct", (512, 512, 2), (0.488281, 0.488281, 5)),
        ("highdicom_seg", (128, 128, 1), (0.661468, 0.661468, 5)),
    ):
        volume = read(readers / folder)
        assert volume.shape == shape
        assert volume.spacing_mm == pytest.approx(spacing)
        assert -1100 < intensities(volume).min() < intensities(volume).max() < 3000
