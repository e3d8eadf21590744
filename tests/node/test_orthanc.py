"""A node between Debian's dcmtk, which sends, and Debian's Orthanc, which stores: the whole way of a hospital."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_fixtures import write_series
from node_fixtures import REPOSITORY, RunningNode, wait_until, write_model
from pydicom.uid import JPEG2000Lossless, generate_uid

from embedded_vit.builtin.index import artifact_path
from embedded_vit.clinic import results_for
from embedded_vit.predict.folder import predict_path
from embedded_vit.predict.predictor import Predictor

sys.path.append(str(REPOSITORY / "benchmarks"))  # at the end: its modules have everyday names
from orthanc import Orthanc, dcmtk

STORESCU = dcmtk("storescu")
pytestmark = [
    pytest.mark.skipif(STORESCU is None, reason="Debian's dcmtk is not installed"),
    pytest.mark.skipif(shutil.which("Orthanc") is None, reason="Debian's orthanc is not installed"),
]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc, empty."""
    running = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield running
    running.stop()


def send_through(orthanc: Orthanc, model: Path, series: Path, folder: Path, *options: str) -> pydicom.Dataset:
    """Send a series through a node with storescu; return its segmentation, which `predict` must equal."""
    node = RunningNode(model, orthanc.dicom_port, folder / "store", "--quiet", "0.2")
    try:
        words = [str(STORESCU), *options, "-aec", "EMBEDDEDVIT", "127.0.0.1", str(node.port), "+sd", str(series)]
        assert subprocess.run(words, check=False).returncode == 0
        header = pydicom.dcmread(next(series.iterdir()), stop_before_pixels=True)
        (stored,) = wait_until(lambda: orthanc.segmentations(header.StudyInstanceUID))
    finally:
        assert node.stop() == 0
    predictor, results = Predictor.load(model, threads=1), results_for("dicom-seg")
    (path,) = predict_path(predictor, series, folder / "x.dcm", results=results)
    expected = pydicom.dcmread(path)
    assert stored.ReferencedSeriesSequence[0].SeriesInstanceUID == header.SeriesInstanceUID
    assert (stored.PatientID, stored.SOPInstanceUID) == (header.PatientID, expected.SOPInstanceUID)
    assert stored.SegmentSequence == expected.SegmentSequence
    np.testing.assert_array_equal(stored.pixel_array, expected.pixel_array)
    return stored


def test_a_generated_series_comes_back_to_orthanc(orthanc: Orthanc, tmp_path: Path) -> None:
    hounsfield = np.full((4, 32, 40), -1000, np.int16)
    hounsfield[1:3, 8:16, 8:16] = 400
    write_series(tmp_path / "series", hounsfield, StudyInstanceUID="1.2.77", SeriesInstanceUID="1.2.78")
    model = write_model(tmp_path / "model.onnx")
    assert send_through(orthanc, model, tmp_path / "series", tmp_path).NumberOfFrames == 2


def test_a_real_series_comes_back_to_orthanc(orthanc: Orthanc, shared_folder: Path, tmp_path: Path) -> None:
    folder = shared_folder / "data" / "readers" / "totalsegmentator_ct" / "example_ct_dicom"
    if not folder.is_dir():
        pytest.skip(f"no such series: {folder} is not there")
    series, made = tmp_path / "series", {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    series.mkdir()
    paths = sorted(folder.iterdir())
    assert len(paths) == 20
    for path in paths:  # whoever took out the patient took out what storescu needs
        image = pydicom.dcmread(path)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID
        for keyword, uid in made.items():
            setattr(image, keyword, uid)
        assert image.file_meta.TransferSyntaxUID == JPEG2000Lossless
        image.save_as(series / path.name)
    stored = send_through(orthanc, artifact_path("abdomen-ct-fast"), series, tmp_path, "-xv")
    assert stored.NumberOfFrames > 20
