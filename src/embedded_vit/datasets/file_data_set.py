"""Data sets of files: a case is one or several image files, and a mask, in any format that `io` reads.

`dataset.json` may say some things that no other program reads: `"mirror": true`, an image mirrored left to right is as
plausible and keeps its labels; `"intensities": "CT"` or `"MR"`, whether its numbers are HU; `"regions"` and
`"unlabelled"`, see `label_scheme`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from typing_extensions import Self

from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.datasets.description import DESCRIPTION_FILE, modality_of
from embedded_vit.datasets.label_scheme import LabelScheme, unlabelled_of
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.grids import laid_on
from embedded_vit.io.channels import join_channels
from embedded_vit.io.pictures import is_picture
from embedded_vit.io.scan_source import data_suffix, open_scan, read_mask
from embedded_vit.labels import IGNORED
from embedded_vit.volume import LabelMap, Volume

__all__ = ["CaseFiles", "FileDataSet", "data_set_of", "inside"]


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case.

    Attributes:
        images: One file with all channels, or one file per channel.
        labels: The mask; None where each structure has a file.
        parts: Number of a structure -> the files of its voxels, together.
    """

    images: tuple[Path, ...]
    labels: Path | None = None
    parts: Mapping[int, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def masks(self) -> tuple[Path, ...]:
        """The files that hold labels."""
        return (
            *(() if self.labels is None else (self.labels,)),
            *(path for paths in self.parts.values() for path in paths),
        )


@dataclass(frozen=True)
class FileDataSet(DataSet):
    """Cases that are files."""

    files: Mapping[str, CaseFiles] = field(default_factory=dict)

    def files_of(self, case: Case) -> tuple[Path, ...]:
        """Return the images and the masks of a case."""
        files = self.files[case.name]
        return (*files.images, *files.masks)

    def with_structures(self, names: Sequence[str]) -> Self:
        """Return the data set with some of its structures; see `DataSet.with_structures`."""
        new = {number: place for place, number in enumerate(self._scheme.numbers(names, self.folder), start=1)}
        files = {
            name: replace(case, parts={new[number]: paths for number, paths in case.parts.items() if number in new})
            for name, case in self.files.items()
        }
        chosen = replace(super().with_structures(names), files=files)
        in_parts = any(case.parts for case in self.files.values())
        return replace(chosen, scheme=LabelScheme.plain(chosen.labels)) if in_parts else chosen

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
        files = self.files[case.name]
        for path in files.masks:
            if not path.exists():
                raise FileFormatError(f"{path}: missing: the mask of case {case.name}; add it or remove the case")
        stored = self._together(case, files.parts) if files.labels is None else read_mask(files.labels)
        return self.in_labels(stored, case)

    def _together(self, case: Case, parts: Mapping[int, tuple[Path, ...]]) -> LabelMap:
        """Put the masks of single structures together; where two overlap, the one with the higher number stays."""
        together: LabelMap | None = None
        for number, path in ((number, path) for number, paths in sorted(parts.items()) for path in paths):
            part = read_mask(path)
            if together is None:
                empty = np.zeros_like(part.array)  # in its memory order
                together = replace(part, array=empty, source=str(path.parent))
            together.array[laid_on(part, together).array > 0] = number
        if together is not None:
            return together
        with open_scan(self.files[case.name].images[0], channels=len(self.channels)) as scan:
            return LabelMap(np.zeros(scan.shape, np.uint8), scan.affine, source=scan.source)


def data_set_of(
    folder: Path,
    channels: tuple[str, ...],
    scheme: LabelScheme,
    files: Mapping[str, CaseFiles],
    layout: str,
    *,
    description: Mapping[str, Any],
    tests: frozenset[str] = frozenset(),
    remarks: Sequence[str] = (),
    patients: Mapping[str, str] | None = None,
    unlabelled: Mapping[str, tuple[int, ...]] | None = None,
) -> FileDataSet:
    """Put a data set together from the files of its cases and what its `dataset.json` says.

    Args:
        folder: Of the data set.
        channels: Names of a scan's channels.
        scheme: What the numbers of masks stand for.
        files: Case -> its files.
        layout: Its name.
        description: The content of `dataset.json`; empty where there is none.
        tests: Cases that are for testing.
        remarks: What was left out, a sentence each.
        patients: Case -> patient, where the layout says it.
        unlabelled: Case -> structures that nobody marked, where the layout says it.
    """
    source, name = folder / DESCRIPTION_FILE, description.get("name")
    pictures = any(is_picture(case.images[0]) for case in files.values())
    modality, stated = modality_of(channels, description, source, pictures=pictures)
    unmarked = {**(unlabelled or {}), **unlabelled_of(description, scheme.labels, files, source)}
    return FileDataSet(
        folder=folder,
        name=name if isinstance(name, str) else folder.resolve().name,
        modality=modality,
        channels=channels,
        labels=scheme.labels,
        cases=tuple(
            Case(case, (patients or {}).get(case, case), case in tests, unmarked.get(case, ()))
            for case in sorted(files)
        ),
        layout=layout,
        remarks=(*stated, *remarks, *_two_valued(files, scheme)),
        files=files,
        scheme=scheme,
    )


def _two_valued(files: Mapping[str, CaseFiles], scheme: LabelScheme) -> list[str]:
    """Say that masks hold 0 and 255, from a look at the first mask of a data set of pictures with one structure."""
    masks = [case.labels for case in files.values() if case.labels is not None and is_picture(case.labels)]
    if len(scheme.labels.labels) != 1 or not masks:
        return []
    try:
        highest = int(read_mask(masks[0]).array.max(initial=0))
    except FileFormatError:  # who reads the case says why
        return []
    if highest != 255 or scheme.stored.get(255) == IGNORED:
        return []
    return [f"{masks[0].parent}: masks of 0 and 255: 255 is taken as {scheme.labels.names[0]}"]


def inside(folder: Path, stated: object, source: Path, key: str = "training") -> Path:
    """Return the path of a file that a description names; it must lie in the data set's folder."""
    path = PurePosixPath(str(stated))
    if path.is_absolute() or ".." in path.parts or not data_suffix(path.name):
        raise DataSetError(f"{source}: '{key}' names '{path}'; a scan file inside the data set's folder is expected")
    return folder / path
