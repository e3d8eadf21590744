"""Labels in DICOM: SEG and RTSTRUCT beside their series give the voxels that were drawn, or one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_fixtures import SECRET, write_series
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from embedded_vit.datasets import check_data_set, open_data_set
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.grids import laid_on
from embedded_vit.io.scan_source import read_mask

STORED = np.random.default_rng(0).normal(0, 200, (6, 20, 24)).astype(np.int16)  # (slices, rows, columns)
BOX = np.zeros(STORED.shape, bool)
BOX[1:4, 5:12, 3:10] = True
SMALL = np.zeros(STORED.shape, bool)
SMALL[2, 7:9, 5:7] = True  # within the box
START, STEP, ROW_MM, COLUMN_MM = (-100, -120, 30), (0, 0, 2.5), 0.8, 0.6
STUDY = {
    "StudyInstanceUID": "1.2", "FrameOfReferenceUID": "1.2.5", "PatientBirthDate": "", "PatientSex": "",
    "StudyDate": "", "StudyTime": "", "AccessionNumber": "", "StudyID": "1",
    "ReferringPhysicianName": "", "InstanceNumber": 1,
}  # fmt: skip


def item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def write_segmentation(path: Path, images: list[Path], masks: dict[str, np.ndarray]) -> None:
    hd = pytest.importorskip("highdicom")
    from pydicom.sr.codedict import codes

    sources = sorted((dcmread(image) for image in images), key=lambda one: one.ImagePositionPatient[2])
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, name in enumerate(masks, start=1)
    ]
    hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.stack(list(masks.values()), axis=-1).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    ).save_as(path)


def square(low: float, high: float, height_mm: float) -> list[float]:
    """The contour of a square of columns and rows from low to high, in mm (LPS+), in a plane."""
    corners = [(low, low), (high, low), (high, high), (low, high)]
    return [
        value
        for column, row in corners
        for value in (START[0] + column * COLUMN_MM, START[1] + row * ROW_MM, height_mm)
    ]


def write_structure_set(
    path: Path, contours: dict[str, list[list[float]]], *, series: str | None = "1.2.3", **interpreted: str
) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = item(
        SOPClassUID=RTStructureSetStorage,
        SOPInstanceUID=meta.MediaStorageSOPInstanceUID,
        Modality="RTSTRUCT",
        PatientName=SECRET,
        StructureSetROISequence=[item(ROINumber=n, ROIName=name) for n, name in enumerate(contours, start=1)],
        ROIContourSequence=[
            item(
                ReferencedROINumber=number,
                ContourSequence=[item(ContourGeometricType="CLOSED_PLANAR", ContourData=each) for each in drawn],
            )
            for number, drawn in enumerate(contours.values(), start=1)
        ],
        RTROIObservationsSequence=[
            item(ReferencedROINumber=n, RTROIInterpretedType=interpreted.get(name, "ORGAN"))
            for n, name in enumerate(contours, start=1)
        ],
    )
    if series is not None:
        of_series = item(RTReferencedSeriesSequence=[item(SeriesInstanceUID=series)])
        dataset.ReferencedFrameOfReferenceSequence = [item(RTReferencedStudySequence=[of_series])]
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)


def patient(folder: Path) -> list[Path]:
    return write_series(folder / "ct", STORED, start=START, step=STEP, **STUDY)


def in_series(mask: np.ndarray) -> np.ndarray:
    """(slices, rows, columns) as the series has it: (columns, rows, slices)."""
    return mask.transpose(2, 1, 0)


def test_a_segmentation_gives_its_voxels_and_the_smaller_of_two_stays(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "p1" / "seg.dcm", patient(tmp_path / "p1"), {"Small one": SMALL, "box": BOX})
    data_set = open_data_set(tmp_path)
    assert (data_set.layout, data_set.modality) == ("DICOM with SEG or RTSTRUCT", "CT")
    assert data_set.labels.names == ("Small one", "box")
    volume, labels = data_set.read_case(data_set.cases[0])
    np.testing.assert_array_equal(volume.array[0], in_series(STORED))
    np.testing.assert_array_equal(labels.array == 1, in_series(SMALL))
    np.testing.assert_array_equal(labels.array == 2, in_series(BOX & ~SMALL))
    assert check_data_set(data_set).errors == 0


def test_contours_are_filled_and_holes_left_open(tmp_path: Path) -> None:
    patient(tmp_path / "p1")
    contours = [square(2.5, 12.5, 35), square(5.5, 8.5, 35), square(2.5, 12.5, 37.5)]
    write_structure_set(tmp_path / "p1" / "rt.dcm", {"liver": contours, "skin": [square(0, 18, 35)]}, skin="EXTERNAL")
    data_set = open_data_set(tmp_path)
    assert data_set.labels.names == ("liver",)
    labels = data_set.read_labels(data_set.cases[0]).array  # (columns, rows, slices)
    expected = np.zeros_like(labels)
    expected[3:13, 3:13, 2:4] = 1
    expected[6:9, 6:9, 2] = 0
    np.testing.assert_array_equal(labels, expected)


def test_what_no_file_of_a_patient_names_was_not_marked(tmp_path: Path) -> None:
    for case, name in (("p1", "Liver"), ("p2", "spleen"), ("p3", "LIVER")):
        patient(tmp_path / case)
        write_structure_set(tmp_path / case / "rt", {name: [square(2.5, 12.5, 35)]})
    patient(tmp_path / "p4")
    data_set = open_data_set(tmp_path)
    assert data_set.labels.names == ("LIVER", "spleen")
    assert {case.name: case.unlabelled for case in data_set.cases} == {"p1": (2,), "p2": (1,), "p3": (2,)}
    assert any("p4: left out: no SEG or RTSTRUCT" in remark for remark in data_set.remarks)
    chosen = open_data_set(tmp_path, structures=["spleen"])
    assert int(chosen.read_labels(chosen.case("p2")).array.max()) == 1
    assert not chosen.read_labels(chosen.case("p1")).array.any()


@pytest.mark.parametrize(
    ("contours", "series", "message"),
    [
        ([square(2.5, 9.5, 35)], "9.9.9", "the series that the labels were drawn on is not in this folder"),
        ([[*square(2.5, 9.5, 35)[:-3], -95.0, -115.0, 44.0]], None, "lies across the slices"),
        ([[1.0, 2.0, 3.0, 4.0]], None, "not a list of points"),
    ],
)
def test_broken_structure_sets_are_one_line(
    tmp_path: Path, contours: list[list[float]], series: str | None, message: str
) -> None:
    patient(tmp_path / "p1")
    write_structure_set(tmp_path / "p1" / "rt", {"liver": contours}, series=series)
    data_set = open_data_set(tmp_path)
    with pytest.raises(FileFormatError, match=message) as caught:
        data_set.read_labels(data_set.cases[0])
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_truncated_label_file_is_one_line(tmp_path: Path) -> None:
    patient(tmp_path / "p1")
    path = tmp_path / "p1" / "rt"
    write_structure_set(path, {"liver": [square(2.5, 9.5, 35)]})
    path.write_bytes(path.read_bytes()[:420])
    with pytest.raises(DataSetError, match="damaged, or not a SEG or RTSTRUCT") as caught:
        open_data_set(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_real_segmentation_is_the_mask_that_another_program_made_of_it(shared_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    readers = shared_folder / "data" / "readers"
    folder = tmp_path / "liver"
    folder.mkdir()
    for path in [*(readers / "dcmqi_ct_seg" / "ct-3slice").iterdir(), readers / "dcmqi_ct_seg" / "liver.dcm"]:
        (folder / path.name).write_bytes(path.read_bytes())
    data_set = open_data_set(tmp_path)
    volume, labels = data_set.read_case(data_set.cases[0])
    theirs = laid_on(read_mask(readers / "dcmqi_ct_seg" / "liver_seg.nrrd"), volume)
    assert int(labels.counts()[1]) == 107_098
    np.testing.assert_array_equal(labels.array, theirs.array)


def test_a_real_structure_set_has_the_area_of_its_polygons(shared_folder: Path, tmp_path: Path) -> None:
    readers = shared_folder / "data" / "readers" / "rtstruct"
    (tmp_path / "p").mkdir()
    for name in ("ct_1.dcm", "ct_2.dcm", "rt.dcm"):
        (tmp_path / "p" / name).write_bytes((readers / name).read_bytes())
    data_set = open_data_set(tmp_path)
    labels = data_set.read_labels(data_set.cases[0])
    area = int(labels.counts()[1]) * float(np.prod(labels.spacing_mm[:2]))
    assert area == pytest.approx(576.0 - 224.5, rel=0.03)  # the outer polygon less the one within it
