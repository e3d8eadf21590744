"""The layout of TotalSegmentator's data sets: one folder per patient, one file per structure.

    s0001/ct.nii.gz (mri.nii.gz)    s0001/segmentations/liver.nii.gz, spleen.nii.gz, ...
    meta.csv                        image_id;...;split: what is for testing

A structure whose file is missing or has no bytes was not marked in that patient.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedded_vit.datasets.file_data_set import CaseFiles, FileDataSet, data_set_of
from embedded_vit.datasets.label_scheme import LabelScheme
from embedded_vit.errors import DataSetError
from embedded_vit.io.scan_source import data_suffix, scan_stem
from embedded_vit.labels import LabelSet

__all__ = ["SEGMENTATIONS", "is_totalsegmentator", "open_totalsegmentator"]

SEGMENTATIONS = "segmentations"
IMAGES = {"ct": "CT", "mri": "MR", "mr": "MR"}
META_FILE = "meta.csv"
MOST_STRUCTURES = 254


def is_totalsegmentator(folder: Path) -> bool:
    """Whether some folder in it holds an image called `ct` or `mri`, and `segmentations`."""
    return any((case / SEGMENTATIONS).is_dir() and _image(case) is not None for case in _folders(folder))


def open_totalsegmentator(folder: Path, description: Mapping[str, Any]) -> FileDataSet:
    """Open a data set; no voxel is read.

    Args:
        folder: Holds one folder per patient.
        description: Its `dataset.json`; empty where there is none.

    Raises:
        DataSetError: CT and MR are mixed, or there is no structure.
    """
    images: dict[str, Path] = {}
    parts: dict[str, dict[str, Path]] = {}
    remarks = []
    for case in _folders(folder):
        image = _image(case)
        if image is None or not (case / SEGMENTATIONS).is_dir():
            what = f"no {SEGMENTATIONS}" if image is not None else "no image called ct or mri"
            remarks.append(f"{case}: left out: {what} in it")
            continue
        images[case.name], parts[case.name] = image, _parts(case / SEGMENTATIONS)
    modalities = sorted({IMAGES[scan_stem(path).lower()] for path in images.values()})
    if len(modalities) > 1:
        raise DataSetError(f"{folder}: holds CT and MR; one network takes one of them: move the others away")
    names = sorted({name for found in parts.values() for name in found})
    if not 1 <= len(names) <= MOST_STRUCTURES:
        raise DataSetError(f"{folder}: {len(names)} structures in {SEGMENTATIONS}; 1 to {MOST_STRUCTURES} are expected")
    numbers = {name: number for number, name in enumerate(names, start=1)}
    files = {
        case: CaseFiles((image,), parts={numbers[name]: (path,) for name, path in parts[case].items()})
        for case, image in images.items()
    }
    unlabelled = {
        case: tuple(numbers[name] for name in names if name not in found)
        for case, found in parts.items()
        if len(found) < len(names)
    }
    scheme = LabelScheme.plain(LabelSet.from_names([name.replace("_", " ") for name in names]))
    return data_set_of(folder, (modalities[0],), scheme, files, "TotalSegmentator", description=description,
                       tests=_tests(folder) & files.keys(), remarks=remarks, unlabelled=unlabelled)  # fmt: skip


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _image(case: Path) -> Path | None:
    found = [path for path in sorted(case.iterdir()) if data_suffix(path.name) and scan_stem(path).lower() in IMAGES]
    return found[0] if found else None


def _parts(folder: Path) -> dict[str, Path]:
    """Return structure -> file, of the files that hold something."""
    with os.scandir(folder) as entries:
        paths = sorted(Path(entry.path) for entry in entries if data_suffix(entry.name) and entry.stat().st_size)
    return {scan_stem(path): path for path in paths if not path.name.startswith(".")}


def _tests(folder: Path) -> frozenset[str]:
    """Return the patients that `meta.csv` keeps for testing; none where it is not there or says nothing."""
    try:
        with open(folder / META_FILE, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, delimiter=";" if ";" in first else ",")
            return frozenset(row["image_id"] for row in rows if row.get("split") == "test" and row.get("image_id"))
    except (OSError, UnicodeDecodeError, csv.Error):
        return frozenset()
