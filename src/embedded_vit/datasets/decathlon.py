"""Data sets of NIfTI files, and the layout of a task of the Medical Segmentation Decathlon.

    dataset.json (modality, labels, training), imagesTr/CASE.nii.gz with all channels, labelsTr/CASE.nii.gz

A case is a patient. `dataset.json` may say two things that no other program reads: `"mirror": true`, an image mirrored
left to right is as plausible and keeps its labels; `"intensities": "CT"` or `"MR"`, whether its numbers are HU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from embedded_vit.datasets.data_set import Case, DataSet, refuse_unknown_labels
from embedded_vit.datasets.description import (
    DESCRIPTION_FILE,
    channels_of,
    labels_of,
    modality_of,
)
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.io.channels import join_channels
from embedded_vit.io.nifti import is_nifti, read_labels
from embedded_vit.io.scan_source import open_scan, scan_stem
from embedded_vit.volume import LabelMap, Volume

__all__ = ["CaseFiles", "NiftiDataSet", "data_set_of", "inside", "nifti_files", "open_decathlon"]


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case."""

    images: tuple[Path, ...]  # one file with all channels, or one file a channel
    labels: Path


@dataclass(frozen=True)
class NiftiDataSet(DataSet):
    """Cases that are NIfTI files."""

    files: Mapping[str, CaseFiles] = field(default_factory=dict)

    def files_of(self, case: Case) -> tuple[Path, ...]:
        """Return the images and the mask of a case."""
        files = self.files[case.name]
        return (*files.images, files.labels)

    def read_volume(self, case: Case) -> Volume:
        """Read a case; channels in several files must lie on one grid; see `DataSet.read_volume`."""
        images = self.files[case.name].images
        for path in images:
            if not path.exists():
                raise FileFormatError(f"{path}: missing: the image of case {case.name}; add it or remove the case")
        if len(images) == 1:
            return open_scan(images[0], channels=len(self.channels)).read()
        return join_channels([open_scan(path, channels=1).read() for path in images])

    def read_labels(self, case: Case) -> LabelMap:
        """Read a case's mask; see `DataSet.read_labels`."""
        path = self.files[case.name].labels
        if not path.exists():
            raise FileFormatError(f"{path}: missing: the mask of case {case.name}; add it or remove the case")
        return refuse_unknown_labels(read_labels(path), self.labels)


def open_decathlon(folder: Path, description: Mapping[str, Any]) -> NiftiDataSet:
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
    listed = {path for case_files in files.values() for path in (*case_files.images, case_files.labels)}
    unlisted = [
        path for path in nifti_files(folder, "imagesTr") + nifti_files(folder, "labelsTr") if path not in listed
    ]
    remarks = [f"{path}: left out: not in the list of {DESCRIPTION_FILE}" for path in unlisted]
    return data_set_of(folder, channels, labels_of(description, source), files, "Medical Segmentation Decathlon",
                     remarks=remarks, description=description)  # fmt: skip


def data_set_of(
    folder: Path,
    channels: tuple[str, ...],
    labels: Any,
    files: Mapping[str, CaseFiles],
    layout: str,
    *,
    description: Mapping[str, Any],
    tests: frozenset[str] = frozenset(),
    remarks: list[str] | None = None,
) -> NiftiDataSet:
    """Put a data set together from the files of its cases and what its `dataset.json` says."""
    name = description.get("name")
    modality, stated = modality_of(channels, description, folder / DESCRIPTION_FILE)
    return NiftiDataSet(
        folder=folder,
        name=name if isinstance(name, str) else folder.resolve().name,
        modality=modality,
        channels=channels,
        labels=labels,
        cases=tuple(Case(case, case, reserved_for_test=case in tests) for case in sorted(files)),
        layout=layout,
        remarks=(*stated, *(remarks or ())),
        files=files,
    )


def nifti_files(folder: Path, name: str) -> list[Path]:
    """Return the NIfTI files of a subfolder; hidden ones (macOS leaves `._CASE.nii.gz`) do not count."""
    if not (folder / name).is_dir():
        return []
    return sorted(path for path in (folder / name).iterdir() if is_nifti(path) and not path.name.startswith("."))


def inside(folder: Path, stated: object, source: Path, key: str = "training") -> Path:
    """Return the path of a file that a description names; it must lie in the data set's folder."""
    path = PurePosixPath(str(stated))
    if path.is_absolute() or ".." in path.parts or not is_nifti(str(path)):
        raise DataSetError(f"{source}: '{key}' names '{path}'; a NIfTI file inside the data set's folder is expected")
    return folder / path
