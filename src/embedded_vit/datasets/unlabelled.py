"""A folder of scans without masks, for distillation from another network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.errors import DataSetError
from embedded_vit.io.scan_source import data_files, data_suffixes, open_scan
from embedded_vit.labels import LabelSet
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.volume import LabelMap, Volume

__all__ = ["UnlabelledFolder", "open_unlabelled"]


@dataclass(frozen=True)
class UnlabelledFolder(DataSet):
    """Scans of one folder; every mask is background."""

    def files_of(self, case: Case) -> tuple[Path, ...]:
        """Return the scan."""
        return (self.folder / case.name,)

    def read_volume(self, case: Case) -> Volume:
        """Read a scan; see `DataSet.read_volume`."""
        return open_scan(self.folder / case.name, channels=len(self.channels)).read()

    def read_labels(self, case: Case) -> LabelMap:
        """Return a mask of background on the scan's grid."""
        with open_scan(self.folder / case.name, channels=len(self.channels)) as scan:
            return LabelMap(np.zeros(scan.shape, np.uint8), scan.affine, source=scan.source)


def open_unlabelled(folder: Path, preprocessing: Preprocessing, labels: LabelSet) -> UnlabelledFolder:
    """Find the scans of a folder.

    Args:
        folder: Holds scans, a file each; other files are left alone.
        preprocessing: Modality and channels, which the scans must have.
        labels: The structures that the network segments.

    Raises:
        DataSetError: There is no such folder, or no scan in it.
    """
    if not folder.is_dir():
        raise DataSetError(f"{folder}: no such folder; expected one with NIfTI scans to learn from without masks")
    names = [path.name for path in data_files(folder) if path.is_file()]
    if not names:
        raise DataSetError(f"{folder}: no {', '.join(data_suffixes())} file in this folder")
    return UnlabelledFolder(
        folder=folder,
        name=folder.name,
        modality=preprocessing.modality,
        channels=preprocessing.channels,
        labels=labels,
        cases=tuple(Case(name, patient=name) for name in names),
        layout="scans without masks",
    )
