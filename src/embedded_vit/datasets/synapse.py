"""TransUNet's layout, in which the Synapse abdominal CT data are usually kept.

    train_npz/caseXXXX_sliceYYY.npz    a slice to train on
    test_vol_h5/caseXXXX.npy.h5        (or .h5) a whole volume, only ever to test
    lists/train.txt, lists/test_vol.txt    which of them take part, one name per line (or in lists/lists_Synapse/, or
                                           lists_Synapse/); without a list, all of them
    dataset.json                       for structures other than the eight organs: labels as nnU-Net writes them

A case is a patient. Slices carry no spacing. Numbers stand for the same in all cases: 0 to 1, or HU.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from embedded_vit.counted import counted
from embedded_vit.datasets.data_set import Case, DataSet, refuse_shared_cases
from embedded_vit.datasets.description import DESCRIPTION_FILE, read_description
from embedded_vit.datasets.label_scheme import LabelScheme, scheme_of, unlabelled_of
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.io.scan_source import open_scan, scan_stem
from embedded_vit.io.transunet import (
    SLICE_SUFFIX,
    VOLUME_SUFFIX,
    VOLUME_SUFFIXES,
    read_h5_labels,
    stack_images,
    stack_labels,
)
from embedded_vit.labels import SYNAPSE_LABELS
from embedded_vit.volume import LabelMap, Volume

__all__ = ["TEST_FOLDER", "TRAIN_FOLDER", "SynapseDataSet", "open_synapse"]

TRAIN_FOLDER, TEST_FOLDER = "train_npz", "test_vol_h5"
LIST_FOLDERS = ("lists", "lists/lists_Synapse", "lists_Synapse")
SLICE_NAME = re.compile(r"(?P<case>.+)_slice(?P<number>\d+)")


@dataclass(frozen=True)
class SynapseDataSet(DataSet):
    """Slices to train on and volumes to test on."""

    slices: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # of every training case, lowest first
    volumes: Mapping[str, Path] = field(default_factory=dict)  # of every test case

    def files_of(self, case: Case) -> tuple[Path, ...]:
        """Return the volume of a test case, or the slices of a training case."""
        return (self.volumes[case.name],) if case.name in self.volumes else self.slices[case.name]

    def read_volume(self, case: Case) -> Volume:
        """Read a case, a training case by stacking its slices; see `DataSet.read_volume`."""
        volume = self._read_alone(case)
        first, slope, intercept = self._stored
        if volume.slope != slope and _varies(volume):  # numbers that are all the same say nothing
            raise FileFormatError(
                f"{volume.source}: its numbers are {_words(volume.slope)}, those of case {first} are {_words(slope)}; "
                "store all cases alike"
            )
        return replace(volume, slope=slope, intercept=intercept)

    @cached_property
    def _stored(self) -> tuple[str, float, float]:
        """A case, and the slope and the intercept that turn the numbers of every case into HU."""
        first, slope, intercept = "", 1.0, 0.0
        for case in self.cases:
            with suppress(FileFormatError):  # raised where that case itself is read
                volume = self._read_alone(case)
                first, slope, intercept = case.name, volume.slope, volume.intercept
                if _varies(volume):
                    break
        return first, slope, intercept

    def _read_alone(self, case: Case) -> Volume:
        if case.name in self.volumes:
            return open_scan(self.volumes[case.name]).read()
        return stack_images(self.slices[case.name], f"{self.folder / TRAIN_FOLDER}: {case.name}")

    def read_labels(self, case: Case) -> LabelMap:
        """Read a case's mask; see `DataSet.read_labels`."""
        if case.name in self.volumes:
            label_map = read_h5_labels(self.volumes[case.name])
        else:
            label_map = stack_labels(self.slices[case.name], f"{self.folder / TRAIN_FOLDER}: {case.name}")
        return self.in_labels(label_map, case)


def open_synapse(folder: Path) -> SynapseDataSet:
    """Open a folder in TransUNet's layout; no voxel is read.

    Raises:
        DataSetError: No case is in it, a case is both for training and for testing, or a list or the labels cannot be
            used.
    """
    source = folder / DESCRIPTION_FILE
    description = read_description(folder) if source.exists() else {}
    scheme = scheme_of(description, source) if description else LabelScheme.plain(SYNAPSE_LABELS)
    slice_names = _listed(folder, "train.txt", TRAIN_FOLDER, (SLICE_SUFFIX,))
    if slice_names is None:
        slice_names = [path.name.removesuffix(SLICE_SUFFIX) for path in _files(folder / TRAIN_FOLDER, (SLICE_SUFFIX,))]
    slices, remarks = _group_slices(folder / TRAIN_FOLDER, slice_names)
    volumes, left_out = _volumes(folder)
    remarks += left_out
    refuse_shared_cases(slices, volumes, folder, TRAIN_FOLDER, TEST_FOLDER)
    if not slices and not volumes:
        raise DataSetError(f"{folder}: no slice in {TRAIN_FOLDER} and no volume in {TEST_FOLDER}")
    names = sorted({*slices, *volumes})
    unlabelled = unlabelled_of(description, scheme.labels, names, source)
    cases = [Case(name, name, name in volumes, unlabelled.get(name, ())) for name in names]
    return SynapseDataSet(
        folder=folder,
        name=folder.resolve().name,
        modality="CT",
        channels=("CT",),
        labels=scheme.labels,
        scheme=scheme,
        cases=tuple(cases),
        layout="TransUNet",
        remarks=tuple(remarks),
        slices=slices,
        volumes=volumes,
    )


def _listed(folder: Path, list_name: str, files_folder: str, suffixes: tuple[str, ...]) -> list[str] | None:
    """Return the names in a list, without the suffixes of files; None where there is no list."""
    for list_folder in LIST_FOLDERS:
        path = folder / list_folder / list_name
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()  # Windows programs begin with a mark
            except (OSError, ValueError) as error:
                raise DataSetError(f"{path}: cannot be read as text in UTF-8; save it again as such") from error
            names = [_without(suffixes, line.strip()) for line in lines]
            if any("/" in name or "\\" in name or name.startswith(".") for name in names):
                raise DataSetError(f"{path}: holds a path; names of files in {files_folder} are expected, one per line")
            return [name for name in dict.fromkeys(names) if name]
    return None


def _volumes(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the files of the test volumes by case; also remarks on files that are left out.

    Raises:
        DataSetError: Two files are of one case.
    """
    files = _files(folder / TEST_FOLDER, VOLUME_SUFFIXES)
    found: dict[str, Path] = {}
    for path in files:
        if (name := scan_stem(path)) in found:
            raise DataSetError(f"{folder / TEST_FOLDER}: {found[name].name} and {path.name} are one case; remove one")
        found[name] = path
    names = _listed(folder, "test_vol.txt", TEST_FOLDER, VOLUME_SUFFIXES)
    if names is not None:
        return {name: found.get(name, folder / TEST_FOLDER / f"{name}{VOLUME_SUFFIX}") for name in names}, []
    others = [path for path in _files(folder / TEST_FOLDER, ("",)) if path not in files]
    expected = f"not named {' or '.join(f'caseXXXX{suffix}' for suffix in VOLUME_SUFFIXES)}"
    return found, [f"{path}: left out: {expected}" for path in others]


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files of a folder whose names end so, hidden ones left out."""
    entries = folder.iterdir() if folder.is_dir() else ()
    visible = (path for path in entries if not path.name.startswith(".") and path.name.lower().endswith(suffixes))
    return sorted(path for path in visible if path.is_file())


def _without(suffixes: tuple[str, ...], name: str) -> str:
    ending = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(ending)]


def _varies(volume: Volume) -> bool:
    return bool(volume.array.min() < volume.array.max())  # not by their difference, which small integers cannot hold


def _words(slope: float) -> str:
    return "HU" if slope == 1 else "-125 to 275 HU as 0 to 1"


def _group_slices(folder: Path, names: list[str]) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """Group slices by case, lowest first; also return remarks on names left out and on missing slices."""
    remarks = []
    numbered: dict[str, dict[int, Path]] = defaultdict(dict)
    for name in names:
        match = SLICE_NAME.fullmatch(name)
        if match:
            numbered[match["case"]][int(match["number"])] = folder / f"{name}{SLICE_SUFFIX}"
        else:
            remarks.append(f"{folder / name}{SLICE_SUFFIX}: left out: not named caseXXXX_sliceYYY{SLICE_SUFFIX}")
    slices = {}
    for case, paths in sorted(numbered.items()):
        numbers = sorted(paths)
        gaps = numbers[-1] - numbers[0] + 1 - len(numbers)
        if gaps:
            missing = counted(gaps, "slice is", "slices are")
            remarks.append(f"{folder}: {case}: {missing} missing between {numbers[0]} and {numbers[-1]}")
        slices[case] = tuple(paths[number] for number in numbers)
    return slices, remarks
