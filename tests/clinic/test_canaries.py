"""Text of patients goes into no log, error, summary or name, whatever is wrong with a series (docs/security.md)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_fixtures import write_series
from pydicom.encaps import encapsulate

CANARY = "canary"
DATES, TIMES = "19470101", "121212"
TEXTS = (
    *("PatientName", "PatientID", "PatientComments", "OtherPatientIDs", "PatientAddress", "EthnicGroup", "Occupation"),
    *("StudyDescription", "SeriesDescription", "StudyID", "AccessionNumber", "ReferringPhysicianName", "OperatorsName"),
    *("InstitutionName", "StationName", "ProtocolName", "ImageComments", "PhysiciansOfRecord", "DeviceSerialNumber"),
    *("RequestedProcedureDescription", "BodyPartExamined", "AdmissionID", "IssuerOfPatientID"),
)
MakeArtifact = Callable[..., Path]


def series(folder: Path, **tags: object) -> Path:
    hounsfield = np.full((4, 32, 40), -1000, np.int16)
    hounsfield[1:3, 8:16, 8:16] = 400
    texts = dict.fromkeys(TEXTS, CANARY) | {"PatientBirthDate": DATES, "PatientSex": "F", "StudyTime": TIMES}
    write_series(folder, hounsfield, **(texts | tags))
    return folder


def cut(folder: Path) -> None:
    path = min(folder.iterdir())
    path.write_bytes(path.read_bytes()[:-100])


def overwritten(folder: Path) -> None:
    path = min(folder.iterdir())
    content = bytearray(path.read_bytes())
    content[200:400] = CANARY.encode() * 33 + b"xy"
    path.write_bytes(bytes(content))


def gap(folder: Path) -> None:
    sorted(folder.iterdir())[1].unlink()


def falsely_compressed(syntax: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for path in folder.iterdir():
            dataset = pydicom.dcmread(path)
            size = b"\x0c\x00\x20\x00\x28\x01\x01\x11\x00"  # 12 bits, 32 x 40, one component
            marker = b"\xff\xf7" if syntax.endswith(".80") else b"\xff\xc3"
            dataset.PixelData = encapsulate(
                [b"\xff\xd8" + marker + b"\x00\x0b" + size + CANARY.encode() * 9 + b"\xff\xd9"]
            )
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
            dataset.save_as(path, enforce_file_format=True)

    return spoil


SPOILED: dict[str, tuple[dict[str, object], Callable[[Path], None] | None]] = {
    "nothing": ({}, None),
    "cut": ({}, cut),
    "overwritten": ({}, overwritten),
    "a gap": ({}, gap),
    "JPEG": ({}, falsely_compressed("1.2.840.10008.1.2.4.70")),
    "JPEG-LS": ({}, falsely_compressed("1.2.840.10008.1.2.4.80")),
    "an odd class": ({"SOPClassUID": "1.2.3.4.5"}, None),
    "a modality": ({"Modality": CANARY.upper()}, None),
    "several values": ({"PatientName": f"{CANARY}\\{CANARY}", "StudyDate": CANARY, "PatientSex": CANARY}, None),
    "a character set": ({"SpecificCharacterSet": CANARY}, None),
    "no study": ({"StudyInstanceUID": None, "FrameOfReferenceUID": None}, None),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SPOILED)
def test_no_text_of_a_patient_leaves_the_dicom_files(
    predict, make_artifact: MakeArtifact, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    tags, spoil = SPOILED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = series(tmp_path / "series", **tags)
        if spoil is not None:
            spoil(folder)
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    status, printed, said = predict(make_artifact(), folder, "-o", tmp_path / "out", "--format", "all")
    assert (status == 0) == (name in ("nothing", "overwritten", "a character set", "no study")), said
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    texts = [printed, said, caplog.text, *(str(path.relative_to(tmp_path)) for path in written)]
    texts += [path.read_text(encoding="utf-8") for path in written if path.suffix == ".json"]
    for text in texts:
        assert CANARY not in text.lower()
        assert DATES not in text
    if name in ("nothing", "a character set"):
        assert CANARY in str(pydicom.dcmread(tmp_path / "out" / "series_seg.dcm").PatientName)
