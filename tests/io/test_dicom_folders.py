"""What lies in folders beside the slices of a series: nothing of the series is lost, and nothing without a word."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from dicom_fixtures import make_slice, write_series
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RTDoseStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)

from embedded_vit.errors import FileFormatError
from embedded_vit.io.dicom import DicomSource, find_series, holds_dicom
from embedded_vit.volume import Volume

SLICES = 6


@pytest.fixture
def stored() -> np.ndarray:
    """(slices, rows, columns) int16 HU."""
    return np.random.default_rng(0).integers(-1000, 400, (SLICES, 5, 7), dtype=np.int16)


def opened(folder: Path, modality: str = "CT") -> DicomSource:
    return DicomSource.open(folder, modality=modality, channels=None, series=None)


def hounsfield(volume: Volume) -> np.ndarray:
    return volume.array[0].T * volume.slope + volume.intercept


def strip_preamble(path: Path, *, implicit: bool = True) -> None:
    dataset = pydicom.dcmread(path)
    del dataset.file_meta
    content = io.BytesIO()
    pydicom.dcmwrite(content, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    path.write_bytes(content.getvalue())


def without(path: Path, keyword: str) -> None:
    dataset = pydicom.dcmread(path)
    delattr(dataset, keyword)
    dataset.save_as(path)


def add(folder: Path, name: str, stored: np.ndarray, **tags: object) -> None:
    dataset = make_slice(stored, **tags)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(folder / name, enforce_file_format=True)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("which", [slice(None), slice(4, None), slice(0, 1)])
def test_slices_without_preamble_are_read(tmp_path: Path, stored: np.ndarray, which: slice, implicit: bool) -> None:
    for path in write_series(tmp_path, stored)[which]:
        strip_preamble(path, implicit=implicit)
    assert holds_dicom(tmp_path)
    source = opened(tmp_path)
    assert source.remarks == ()
    np.testing.assert_array_equal(hounsfield(source.read()), stored)


def test_a_deflated_series_is_read(tmp_path: Path, stored: np.ndarray) -> None:
    for path in write_series(tmp_path, stored):
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)
    np.testing.assert_array_equal(hounsfield(opened(tmp_path).read()), stored)


def test_a_deflated_file_cannot_grow_without_limit(
    tmp_path: Path, stored: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_a_deflated_series_is_read(tmp_path, stored)
    monkeypatch.setattr("embedded_vit.io.dicom.header.MOST_INFLATED_BYTES", 100)
    with pytest.raises(FileFormatError, match="deflated file larger than a slice"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "remark"),
    [
        (lambda path: path.write_bytes(b""), "2 x empty file"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 a picture"), "2 x file that is not DICOM"),
        (
            lambda path: without(path, "ImagePositionPatient"),
            r"2 x slice of the series that does not say where it lies",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:140]), "2 x truncated or damaged file|or truncated"),
    ],
)
def test_slices_that_are_lost_are_counted_and_named(
    tmp_path: Path, stored: np.ndarray, spoil: Callable[[Path], object], remark: str
) -> None:
    paths = write_series(tmp_path, stored)
    for path in paths[4:]:  # the two uppermost: nothing is missing between
        spoil(path)
    source = opened(tmp_path)
    assert source.shape == (7, 5, 4)
    (said,) = source.remarks
    assert said.startswith("left out of the folder: ")
    assert str(tmp_path) not in said  # it stands in the JSON beside a mask
    assert re.search(remark, said)


def test_a_lost_slice_between_others_is_refused_and_named(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored)[2].write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"slices missing between .*: 1; .*left out of the folder: empty file"):
        opened(tmp_path)


def test_a_damaged_slice_of_the_series_is_refused(tmp_path: Path, stored: np.ndarray) -> None:
    paths = write_series(tmp_path, stored)
    without(paths[5], "Rows")
    with pytest.raises(FileFormatError, match="damaged: no Rows or Columns"):
        opened(tmp_path)


def test_foreign_files_neither_hide_nor_spoil_a_series(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored)
    segmentation = {"Modality": "SEG", "SOPClassUID": SegmentationStorage, "SeriesInstanceUID": "1.2.8"}
    add(tmp_path, "A_seg", stored[0].astype(np.uint8), SeriesNumber=8, **segmentation)
    dose = {"Modality": "RTDOSE", "SOPClassUID": RTDoseStorage, "SeriesInstanceUID": "1.2.9", "NumberOfFrames": 9}
    add(tmp_path, "A_dose", stored[0], SeriesNumber=9, **dose)
    structures = {"Rows": None, "Columns": None, "Modality": "RTSTRUCT", "SeriesInstanceUID": "1.2.7"}
    add(tmp_path, "A_structures", stored[0], SOPClassUID=RTStructureSetStorage, **structures)
    add(tmp_path, "A_scout", stored[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "A_picture.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "DICOMDIR").write_bytes(b"an index")
    source = opened(tmp_path)
    np.testing.assert_array_equal(hounsfield(source.read()), stored)
    (said,) = source.remarks
    for what in ("localizer", "RT Structure Set", "file that is not DICOM", "series number 8 (SEG, 1 slice)",
                 "series number 9 (RTDOSE, 9 slices)"):  # fmt: skip
        assert what in said


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizers .scouts. alone"),
        ({"Modality": "RTDOSE", "SOPClassUID": RTDoseStorage}, "radiotherapy doses, not a scan"),
        ({"Modality": "SEG", "SOPClassUID": SegmentationStorage}, "segmentations, not a scan"),
        ({"ImagePositionPatient": None}, "no DICOM image in this folder says where it lies"),
        ({"Rows": None, "SOPClassUID": RTStructureSetStorage}, "no DICOM image in this folder: RT Structure Set"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "a Siemens mosaic, .*dcm2niix"),
        ({"BitsStored": 12, "HighBit": 16}, "12 bits up to bit 16 of 16 are not possible"),
    ],
)
def test_a_folder_without_a_scan_says_what_it_holds(
    tmp_path: Path, stored: np.ndarray, tags: dict[str, object], message: str
) -> None:
    add(tmp_path, "one", stored[0], **tags)
    with pytest.raises(FileFormatError, match=message):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("syntax", "library"),
    [(JPEGExtended12Bit, "python-gdcm"), (JPEGLSLossless, "python-gdcm"), (JPEG2000, "pylibjpeg")],
)
def test_the_package_that_decodes_is_named(
    tmp_path: Path, stored: np.ndarray, syntax: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = SimpleNamespace(is_available=False, available_plugins=())  # whatever is installed here
    monkeypatch.setattr("embedded_vit.io.dicom.pixels.get_decoder", lambda syntax: nothing)
    dataset = make_slice(stored[0], BitsStored=12, HighBit=11)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(tmp_path / "slice", enforce_file_format=True, implicit_vr=False, little_endian=True)
    with pytest.raises(FileFormatError, match=rf"{library} is not installed; .*\[dicom\].*, or decompress the series"):
        opened(tmp_path)


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_bits_that_are_not_right_aligned_are_shifted(tmp_path: Path, kind: type) -> None:
    numbers = np.random.default_rng(1).integers(0 if kind is np.uint16 else -2048, 2048, (3, 4, 5))
    for high in (11, 13, 15):
        folder = tmp_path / str(high)
        write_series(folder, (numbers << (high - 11)).astype(kind), BitsStored=12, HighBit=high)
        np.testing.assert_array_equal(hounsfield(opened(folder).read()), numbers)


def test_padding_with_more_bits_than_the_numbers_becomes_air(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).integers(0, 2048, (3, 4, 5)).astype(np.uint16)
    words = numbers.copy()
    words[:, 0] = 63536  # -2000 without its sign
    write_series(tmp_path, words, BitsStored=12, HighBit=11, PixelPaddingValue=63536, RescaleIntercept=-1024)
    found = hounsfield(opened(tmp_path).read())
    assert (found[:, 0] == -1000).all()
    np.testing.assert_array_equal(found[:, 1:], numbers[:, 1:] - 1024.0)


def test_a_series_below_a_folder_is_found_and_put_together(tmp_path: Path, stored: np.ndarray) -> None:
    paths = write_series(tmp_path / "whole", stored)
    for index, path in enumerate(paths):
        place = tmp_path / "study" / f"part{index // 2}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / "same_name" if index % 2 else place)
    source = opened(tmp_path / "study")
    np.testing.assert_array_equal(hounsfield(source.read()), stored)
    assert source.sha256() == opened(tmp_path / "whole").sha256()


def test_a_series_in_the_folder_itself_comes_before_those_below(tmp_path: Path, stored: np.ndarray) -> None:
    write_series(tmp_path, stored)
    write_series(tmp_path / "other", stored, SeriesInstanceUID="1.2.77", SeriesNumber=7)
    source = opened(tmp_path)
    np.testing.assert_array_equal(hounsfield(source.read()), stored)
    assert "series number 7 (CT, 6 slices)" in source.remarks[0]


def test_numbers_that_are_skipped_are_told(tmp_path: Path, stored: np.ndarray) -> None:
    for index, path in enumerate(write_series(tmp_path, stored)):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = 40 - 2 * index
        dataset.save_as(path)
    assert opened(tmp_path).remarks == (
        "the numbers of the slices (InstanceNumber) skip 5: were slices lost when the series was copied?",
    )
    assert str(find_series(tmp_path, modality="CT")) == "number 4 (CT, 6 slices)"


def test_real_files_that_must_not_spoil_a_series(shared_folder: Path, tmp_path: Path, stored: np.ndarray) -> None:
    files = shared_folder / "cases" / "files"
    if not files.is_dir():
        pytest.skip("no cases/files beside the repository")
    write_series(tmp_path, stored)
    for path in files.glob("*.dcm"):
        shutil.copy(path, tmp_path)
    source = DicomSource(find_series(tmp_path, modality="CT", number=4))
    np.testing.assert_array_equal(hounsfield(source.read()), stored)
