"""Labels in DICOM: one folder per patient, with a series and the SEG or RTSTRUCT files that were drawn on it.

    PATIENT/... a CT or MR series, in any files      PATIENT/... one or several SEG or RTSTRUCT files, anywhere below

A structure that no file of a patient names was not marked in that patient. Where structures overlap, the smaller one
stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self

from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.datasets.label_scheme import LabelScheme, spelled
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.io.dicom.label_masks import structure_masks
from embedded_vit.io.dicom.label_objects import LabelObject, find_label_files, modality_beside, read_label_object
from embedded_vit.io.dicom.magic import files_of
from embedded_vit.io.dicom.source import DicomSource
from embedded_vit.labels import LabelSet
from embedded_vit.preprocessing import Modality
from embedded_vit.volume import LabelMap, Volume

__all__ = ["is_dicom_folders", "open_dicom_folders"]

MOST_STRUCTURES = 254


@dataclass(frozen=True)
class DicomDataSet(DataSet):
    """Series with SEG or RTSTRUCT files beside them."""

    objects: Mapping[str, tuple[LabelObject, ...]] = field(default_factory=dict)

    def with_structures(self, names: Sequence[str]) -> Self:
        """Return the data set with some of its structures; see `DataSet.with_structures`."""
        chosen = super().with_structures(names)
        return replace(chosen, scheme=LabelScheme.plain(chosen.labels))  # voxels are found by the structures' names

    def files_of(self, case: Case) -> tuple[Path, ...]:
        """Return all files of a patient, in a fixed order."""
        return tuple(files_of(self.folder / case.name))

    def read_volume(self, case: Case) -> Volume:
        """Read the series that the labels were drawn on; see `DataSet.read_volume`."""
        return self._series(case).read()

    def read_labels(self, case: Case) -> LabelMap:
        """Read all label files of a case; see `DataSet.read_labels`."""
        series, number_of = self._series(case), {spelled(label.name): label.id for label in self.labels.labels}
        masks: dict[int, Any] = {}
        for labels in self.objects[case.name]:
            names = [name for name in labels.numbers if spelled(name) in number_of]
            for name, inside in structure_masks(labels, names, series).items():
                number = number_of[spelled(name)]
                masks[number] = masks[number] | inside if number in masks else inside
        together = np.zeros(series.shape, np.uint8)
        for number, inside in sorted(masks.items(), key=lambda item: -np.count_nonzero(item[1])):
            together[inside] = number
        return self.in_labels(LabelMap(together, series.affine, source=str(self.folder / case.name)), case)

    def _series(self, case: Case) -> DicomSource:
        references = {labels.series for labels in self.objects[case.name]}
        if len(references) > 1:
            raise FileFormatError(
                f"{self.folder / case.name}: its label files were drawn on {len(references)} series; give each a folder"
            )
        return DicomSource.open_uid(self.folder / case.name, next(iter(references)))


def is_dicom_folders(folder: Path) -> bool:
    """Whether some folder in it holds a SEG or RTSTRUCT file."""
    return any(find_label_files(case) for case in _folders(folder))


def open_dicom_folders(folder: Path, description: Mapping[str, Any]) -> DicomDataSet:
    """Open a data set; no pixel is read.

    Args:
        folder: Holds one folder per patient.
        description: Its `dataset.json`; nothing of it is needed.

    Raises:
        DataSetError: No structure is in it, CT and MR are mixed, or a label file cannot be read.
    """
    objects: dict[str, tuple[LabelObject, ...]] = {}
    modalities: dict[str, str | None] = {}
    remarks = []
    for case in _folders(folder):
        paths = find_label_files(case)
        if not paths:
            remarks.append(f"{case}: left out: no SEG or RTSTRUCT file in it")
            continue
        try:
            objects[case.name] = tuple(read_label_object(path) for path in paths)
            modalities[case.name] = modality_beside(case)
        except FileFormatError as error:
            raise DataSetError(str(error)) from error
    kinds = sorted({str(kind) for kind in modalities.values()})
    if len(kinds) != 1 or kinds[0] not in ("CT", "MR"):
        raise DataSetError(f"{folder}: its series are {', '.join(kinds)}; CT or MR, one of them, is expected")
    modality: Modality = "CT" if kinds[0] == "CT" else "MR"
    names: dict[str, str] = {}
    for name in sorted({name for found in objects.values() for labels in found for name in labels.numbers}):
        names.setdefault(spelled(name), name)
    if not 1 <= len(names) <= MOST_STRUCTURES:
        raise DataSetError(f"{folder}: {len(names)} structures in its label files; 1 to {MOST_STRUCTURES} are expected")
    labels = LabelSet.from_names([names[key] for key in names])
    marked = {case: {spelled(name) for each in found for name in each.numbers} for case, found in objects.items()}
    return DicomDataSet(
        folder=folder,
        name=folder.resolve().name,
        modality=modality,
        channels=(modality,),
        labels=labels,
        cases=tuple(
            Case(case, case, unlabelled=tuple(n for n, key in enumerate(names, start=1) if key not in marked[case]))
            for case in sorted(objects)
        ),
        layout="DICOM with SEG or RTSTRUCT",
        remarks=tuple(remarks),
        scheme=LabelScheme.plain(labels),
        objects=objects,
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
