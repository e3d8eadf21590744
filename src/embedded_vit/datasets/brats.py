"""The layout of the BraTS challenges: one folder per patient, one file per channel.

    BraTS2021_00000/BraTS2021_00000_t1.nii.gz, _t1ce, _t2, _flair, _seg                       up to 2021
    BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1n.nii.gz, -t1c, -t2w, -t2f, -seg                since 2023

Up to 2021 the enhancing tumour is number 4 in the masks, since 2023 number 3; here it is 3. Folders may lie deeper.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedded_vit.datasets.description import DESCRIPTION_FILE
from embedded_vit.datasets.file_data_set import CaseFiles, FileDataSet, data_set_of
from embedded_vit.datasets.label_scheme import LabelScheme, scheme_of
from embedded_vit.errors import DataSetError
from embedded_vit.io.scan_source import data_suffix, scan_stem
from embedded_vit.labels import LabelSet, Region

__all__ = ["is_brats", "open_brats"]

CHANNELS = ("T1", "T1ce", "T2", "FLAIR")
MASK = "seg"
ENDINGS = {"t1": "T1", "t1n": "T1", "t1ce": "T1ce", "t1gd": "T1ce", "t1c": "T1ce", "t2": "T2", "t2w": "T2",
           "flair": "FLAIR", "t2f": "FLAIR", "seg": MASK}  # fmt: skip
NAME = re.compile(r"(?P<case>.+)(?P<joint>[-_])(?P<ending>[a-z0-9]+)", re.IGNORECASE)
TIME_POINT = re.compile(r"(?P<patient>.*-\d{5})-\d{3}")  # of names since 2023
DEEPEST = 3  # folders below the data set's, as HGG/PATIENT
LABELS = LabelSet.from_names(["necrotic core", "oedema", "enhancing tumour"]).model_copy(
    update={
        "regions": (Region(name="whole tumour", members=(1, 2, 3)), Region(name="tumour core", members=(1, 3))),
    }
)
UP_TO_2021, SINCE_2023 = {0: 0, 1: 1, 2: 2, 4: 3}, {0: 0, 1: 1, 2: 2, 3: 3}


def is_brats(folder: Path) -> bool:
    """Whether a folder below it holds the four channels of a patient, by their names."""
    return any(set(CHANNELS) <= found.keys() for found in _patients(folder).values())


def open_brats(folder: Path, description: Mapping[str, Any]) -> FileDataSet:
    """Open a data set; no voxel is read.

    Args:
        folder: Holds one folder per patient.
        description: Its `dataset.json`, which may state other `labels`; empty where there is none.

    Raises:
        DataSetError: No patient has four channels and a mask.
    """
    files, remarks, old = {}, [], False
    for (place, case), found in sorted(_patients(folder).items()):
        missing = [name for name in (*CHANNELS, MASK) if name not in found]
        if missing:
            remarks.append(f"{place / case}: left out: no {', '.join(missing)}")
            continue
        if case in files:
            raise DataSetError(f"{folder}: patient {case} is in two folders; remove one")
        files[case] = CaseFiles(tuple(found[name] for name in CHANNELS), found[MASK])
        old = old or found[MASK].name.lower().startswith(f"{case.lower()}_")
    if not files:
        raise DataSetError(f"{folder}: no patient has the channels {', '.join(CHANNELS)} and a mask (seg)")
    scheme = LabelScheme(LABELS, UP_TO_2021 if old else SINCE_2023)
    if "labels" in description:
        scheme = scheme_of(description, folder / DESCRIPTION_FILE)
    patients = {case: match["patient"] for case in files if (match := TIME_POINT.fullmatch(case))}
    return data_set_of(folder, CHANNELS, scheme, files, "BraTS", description=description, remarks=remarks,
                       patients=patients)  # fmt: skip


def _patients(folder: Path) -> dict[tuple[Path, str], dict[str, Path]]:
    """Return (folder, patient) -> channel or mask -> file."""
    found: dict[tuple[Path, str], dict[str, Path]] = defaultdict(dict)
    for place, folders, names in os.walk(folder):
        here = Path(place)
        depth = len(here.relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < DEEPEST else []
        for name in sorted(names):
            match = NAME.fullmatch(scan_stem(Path(name))) if data_suffix(name) and not name.startswith(".") else None
            if match and match["ending"].lower() in ENDINGS:
                found[here, match["case"]].setdefault(ENDINGS[match["ending"].lower()], here / name)
    return found
