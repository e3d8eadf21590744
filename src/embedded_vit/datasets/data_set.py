"""The interface of a data set of any layout: named cases, their scans and masks, and splits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from typing_extensions import Self

from embedded_vit.config import Config
from embedded_vit.counted import counted
from embedded_vit.datasets.label_scheme import LabelScheme
from embedded_vit.errors import DataSetError
from embedded_vit.grids import laid_on
from embedded_vit.labels import LabelSet
from embedded_vit.preprocessing import Modality
from embedded_vit.volume import LabelMap, Volume

__all__ = [
    "Case",
    "DataSet",
    "Split",
    "SubsetName",
    "make_folds",
    "make_split",
    "refuse_shared_cases",
]

SubsetName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Case:
    """One labelled scan of a data set."""

    name: str
    patient: str  # a split keeps the cases of a patient together
    reserved_for_test: bool = False  # by the layout, as TransUNet's test_vol_h5
    unlabelled: tuple[int, ...] = ()  # structures that nobody marked in it: background may be one of them


@dataclass(frozen=True)
class DataSet(ABC):
    """A labelled data set on disk; each layout is a subclass."""

    folder: Path
    name: str
    modality: Modality
    channels: tuple[str, ...]  # the scan's own channels, for example ("FLAIR", "T1w", "t1gd", "T2w")
    labels: LabelSet
    cases: tuple[Case, ...]  # sorted by name

    layout: str = ""  # as people call it, for example "nnU-Net v2 raw"
    remarks: tuple[str, ...] = ()  # what was found in the folder and left out, a sentence each
    scheme: LabelScheme | None = None  # None: files store the labels themselves

    @property
    def ignores(self) -> bool:
        """Whether masks may hold `IGNORED`, where neither loss nor metrics look."""
        return self._scheme.ignores

    @property
    def numbering(self) -> tuple[tuple[int, int], ...]:
        """Pairs of a number in the files and its label; empty where files store the labels themselves."""
        stored = self._scheme.stored
        return () if stored == LabelScheme.plain(self.labels).stored else tuple(sorted(stored.items()))

    @property
    def _scheme(self) -> LabelScheme:
        return self.scheme or LabelScheme.plain(self.labels)

    def with_structures(self, names: Sequence[str]) -> Self:
        """Return the data set with some of its structures, in this order; the others become background.

        Raises:
            DataSetError: There is no structure of that name.
        """
        scheme = self._scheme.chosen(names, self.folder)
        new = {number: place for place, number in enumerate(self._scheme.numbers(names, self.folder), start=1)}
        cases = tuple(
            replace(case, unlabelled=tuple(sorted(new[number] for number in case.unlabelled if number in new)))
            for case in self.cases
        )
        return replace(self, labels=scheme.labels, scheme=scheme, cases=cases)

    def in_labels(self, stored: LabelMap, case: Case) -> LabelMap:
        """Return a mask as its file has it in labels; structures that nobody marked in the case are background.

        Raises:
            FileFormatError: It holds a number that stands for nothing.
        """
        mask = self._scheme.apply(stored)
        if not case.unlabelled:
            return mask
        return replace(mask, array=np.where(np.isin(mask.array, case.unlabelled), np.uint8(0), mask.array))

    @abstractmethod
    def read_volume(self, case: Case) -> Volume:
        """Read a case's scan: CT in HU, in the file's own orientation.

        Raises:
            FileFormatError: The file is missing, damaged, or not finite.
        """

    @abstractmethod
    def read_labels(self, case: Case) -> LabelMap:
        """Read a case's mask, as its file has it; see `read_case`. It may hold `IGNORED` where `ignores` says so.

        Raises:
            FileFormatError: The file is missing or damaged, or holds a number that is not in the label set.
        """

    def read_case(self, case: Case) -> tuple[Volume, LabelMap]:
        """Read a case's scan, and its mask on the very grid of the scan, whatever axis order its file has.

        Raises:
            FileFormatError: As `read_volume` and `read_labels`, or the mask lies elsewhere than its scan.
        """
        volume = self.read_volume(case)
        return volume, laid_on(self.read_labels(case), volume)

    def files_of(self, case: Case) -> tuple[Path, ...]:
        """Return the files that a case is read from, scan and mask, in a fixed order; none for one in memory."""
        return ()

    def case(self, name: str) -> Case:
        """Return the case of that name.

        Raises:
            DataSetError: There is no such case.
        """
        for case in self.cases:
            if case.name == name:
                return case
        raise DataSetError(f"{self.folder}: no case '{name}' among its {counted(len(self.cases), 'case')}")


def refuse_shared_cases(
    train: Iterable[str], tests: Iterable[str], folder: Path, train_name: str, test_name: str
) -> None:
    """Refuse a data set that trains on a case which it also tests on.

    Raises:
        DataSetError: A name stands in both.
    """
    if both := sorted(set(train) & set(tests)):
        raise DataSetError(
            f"{folder}: {both[0]} is in {train_name} and in {test_name}; a test case must not train: remove one"
        )


class Split(Config):
    """The cases for training, for selecting a checkpoint (validation), and for testing."""

    seed: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def names(self, subset: SubsetName | Literal["all"]) -> tuple[str, ...]:
        """Return the names of one subset, or of all three."""
        if subset == "all":
            return tuple(sorted(self.train + self.validation + self.test))
        names: tuple[str, ...] = getattr(self, subset)
        return names


def make_split(data_set: DataSet, *, seed: int, validation_cases: int | None = None) -> Split:
    """Split by patient: a patient's cases stay together, the layout's test cases stay test cases.

    Args:
        data_set: Any data set.
        seed: Seeds the choice of patients.
        validation_cases: Patients that select checkpoints; 0 for none (the last weights are kept); by default a tenth
            of the patients that do not test, at least one. A data set without test cases gives a fifth to testing.

    Raises:
        DataSetError: Too few patients to leave one for training.
    """
    by_patient: dict[str, list[Case]] = defaultdict(list)
    for case in data_set.cases:
        by_patient[case.patient].append(case)
    reserved = {case.patient for case in data_set.cases if case.reserved_for_test}
    free = sorted(set(by_patient) - reserved)
    order = [free[index] for index in np.random.default_rng(seed).permutation(len(free))]
    test = sorted(reserved) or [order.pop() for _ in range(min(max(1, len(order) // 5), len(order) - 1))]
    if validation_cases is None:
        validation_cases = max(1, round(len(order) / 10)) if len(order) > 1 else 0
    if len(order) - validation_cases < 1:
        raise DataSetError(
            f"{data_set.folder}: {counted(len(by_patient), 'patient')}, {len(test)} of them for testing, leave "
            "none for training "
            f"beside {validation_cases} for validation; add cases or lower --validation-cases"
        )
    validation, train = order[:validation_cases], order[validation_cases:]

    def names(patients: list[str]) -> tuple[str, ...]:
        return tuple(sorted(case.name for patient in patients for case in by_patient[patient]))

    return Split(seed=seed, train=names(train), validation=names(validation), test=names(test))


def make_folds(data_set: DataSet, *, count: int, seed: int) -> list[Split]:
    """Split for a cross-validation: every patient tests in one fold, and no case is left for validation.

    Patients are dealt in an order that the seed draws, the layout's test cases among them.

    Args:
        data_set: Any data set.
        count: Number of folds.
        seed: Seeds the order, and is the seed of each split.
    """
    names = tuple(case.name for case in data_set.cases)
    patients = sorted({case.patient for case in data_set.cases})
    order = np.random.default_rng(seed).permutation(len(patients))
    splits = []
    for fold in range(count):
        tested = {patients[place] for place in order[fold::count]}
        test = tuple(case.name for case in data_set.cases if case.patient in tested)
        train = tuple(name for name in names if name not in test)
        splits.append(Split(seed=seed, train=train, validation=(), test=test))
    return splits
