"""The layout of a task of the Medical Segmentation Decathlon.

dataset.json (modality, labels, training), imagesTr/CASE.nii.gz with all channels, labelsTr/CASE.nii.gz
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedded_vit.datasets.description import DESCRIPTION_FILE, channels_of
from embedded_vit.datasets.file_data_set import CaseFiles, FileDataSet, data_set_of, inside
from embedded_vit.datasets.label_scheme import scheme_of
from embedded_vit.errors import DataSetError
from embedded_vit.io.scan_source import data_files, scan_stem

__all__ = ["open_decathlon"]


def open_decathlon(folder: Path, description: Mapping[str, Any]) -> FileDataSet:
    """Open a task of the Medical Segmentation Decathlon; no voxel is read.

    Args:
        folder: The folder of the task.
        description: Its `dataset.json`.

    Raises:
        DataSetError: The description lacks something, or what it says cannot be used.
    """
    source = folder / DESCRIPTION_FILE
    channels = channels_of(description, "modality", source)
    entries = description.get("training")
    if not isinstance(entries, list) or not entries:
        raise DataSetError(f'{source}: \'training\' must list the cases as {{"image": ..., "label": ...}}')
    files: dict[str, CaseFiles] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not {"image", "label"} <= set(entry):
            raise DataSetError(f'{source}: \'training\' must list the cases as {{"image": ..., "label": ...}}')
        image, label = (inside(folder, entry[key], source) for key in ("image", "label"))
        name = scan_stem(image)
        if name in files:
            raise DataSetError(f"{source}: case {name} is listed twice in 'training'; remove one")
        files[name] = CaseFiles((image,), label)
    listed = {path for case_files in files.values() for path in (*case_files.images, *case_files.masks)}
    unlisted = [
        path for path in data_files(folder / "imagesTr") + data_files(folder / "labelsTr") if path not in listed
    ]
    remarks = [f"{path}: left out: not in the list of {DESCRIPTION_FILE}" for path in unlisted]
    return data_set_of(folder, channels, scheme_of(description, source), files, "Medical Segmentation Decathlon",
                     remarks=remarks, description=description)  # fmt: skip
