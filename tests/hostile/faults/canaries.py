"""Canaries in every text field of a scan: in no output but the files that must name the patient."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from dicom_fixtures import write_series
from pydicom.datadict import DicomDictionary

from faults.row import Outcome
from faults.small_scans import AFFINE, box, model

CANARY = "Canaria"
TEXT = ("LO", "SH", "PN", "LT", "ST", "UT", "UC")
MAY_NAME = ("_seg.dcm", "_sc.dcm")


def text_keywords() -> list[str]:
    """Return the keywords of all text fields of DICOM that may stand in a dataset of its own."""
    return sorted(
        keyword
        for tag, (vr, multiplicity, _, retired, keyword) in DicomDictionary.items()
        if vr in TEXT and multiplicity == "1" and not retired and keyword and tag >> 16 not in (0, 2, 4)
    )


def scans(folder: Path, count: int) -> Iterator[tuple[str, Path, list[str]]]:
    """Write scans with canaries; yield what bears them, the scan, and the options of the verb."""
    stored = np.transpose(box(3), (2, 1, 0))
    keywords = text_keywords()
    step = max(1, -(-len(keywords) // max(1, count - 1)))
    for start in range(0, len(keywords), step):
        tags = dict.fromkeys(keywords[start : start + step], CANARY)
        tags.pop("RescaleType", None)  # which says what the numbers are: another word is refused
        name = f"series{start}"
        write_series(folder / name, stored, PixelSpacing=[1.0, 1.0], **tags)
        options = ["--format", "all"] if start % (2 * step) == 0 else []
        yield f"{len(tags)} fields of DICOM from {keywords[start]}", folder / name, options
    image = nibabel.Nifti1Image(box(3), AFFINE)
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = CANARY
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", CANARY.encode()))
    nibabel.save(image, folder / "scan.nii.gz")
    yield "the header of a NIfTI file", folder / "scan.nii.gz", []


def canaries(count: int, folder: Path) -> Outcome:
    """Predict scans with canaries; look into everything that was printed and written."""
    outcome, artifact = Outcome(), model(folder / "model")
    for number, (what, scan, options) in enumerate(scans(folder, count)):
        out = folder / f"out{number}"
        out.mkdir()
        command = [sys.executable, "-m", "embedded_vit", "predict", str(artifact), str(scan), "-o"]
        done = subprocess.run(
            [*command, str(out / "case.nii.gz"), "--force", *options], capture_output=True, check=False
        )
        found = ["what is printed"] if CANARY.encode() in done.stdout + done.stderr else []
        for path in out.iterdir():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            if CANARY.encode() in content and not path.name.endswith(MAY_NAME):
                found.append(path.name)
        wrong = f"in {found}" if found else "" if done.returncode == 0 else f"{done.stderr[-200:]!r}"
        outcome.count(good=not wrong, message=f"{what}: {wrong}")
    return outcome
