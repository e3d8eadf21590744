"""The check of a whole data set: what it holds, and everything that is wrong with it.

An error is what would stop a training or falsify its figures; a warning is what a person should know.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedded_vit.counted import counted
from embedded_vit.datasets.data_set import Case, DataSet, make_split
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.grids import laid_on
from embedded_vit.hounsfield import hounsfield_problems
from embedded_vit.preprocessing import Intensities, Modality, Preprocessing
from embedded_vit.volume import LabelMap, Volume

__all__ = ["CaseSummary", "DataSetReport", "Problem", "Severity", "check_data_set"]

Severity = Literal["error", "warning"]
MOST_CLIPPED = 0.5  # of a structure's voxels
ENDS: dict[Modality, str] = {
    "CT": "of -125 to 275 HU",
    "MR": "of the 0.5 to 99.5 % of each scan",
    "picture": "of black to white",
}


@dataclass(frozen=True)
class Problem:
    """A problem of a case or of the data set."""

    case: str | None  # None: the data set as a whole
    severity: Severity
    message: str


@dataclass(frozen=True)
class CaseSummary:
    """The contents of a case.

    Attributes:
        name: The case's name.
        subset: "test" where the layout reserves it for that, else "train".
        shape: (axis 0, axis 1, axis 2) in the file's own order; None when the image cannot be read.
        spacing_mm: Along the same axes; None when unknown.
        intensities: Lowest and highest, HU for CT; None when the image cannot be read.
        label_voxels: How many voxels have each label, background first; None when the mask cannot be read.
        clipped_voxels: How many of these lie, in every channel, at an end of the range that the network sees; None when
            image or mask cannot be used.
    """

    name: str
    subset: Literal["train", "test"]
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    intensities: tuple[float, float] | None = None
    label_voxels: tuple[int, ...] | None = None
    clipped_voxels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class DataSetReport:
    """The contents of a data set, and its problems."""

    data_set: DataSet
    cases: tuple[CaseSummary, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> int:
        """The number of problems that would stop or falsify a training."""
        return sum(problem.severity == "error" for problem in self.problems)

    @property
    def warnings(self) -> int:
        """The number of problems that a person should know of."""
        return len(self.problems) - self.errors


def check_data_set(data_set: DataSet, *, on_case: Callable[[], None] = lambda: None) -> DataSetReport:
    """Read every case, one at a time, and report.

    Args:
        data_set: An open data set.
        on_case: Called after each case.
    """
    summaries: list[CaseSummary] = []
    problems = [Problem(None, "warning", remark) for remark in data_set.remarks]
    first_with: dict[str, Case] = {}
    for case in data_set.cases:
        summary, found, digest = _check_case(data_set, case)
        summaries.append(summary)
        problems += found
        if digest is not None:
            earlier = first_with.setdefault(digest, case)
            if earlier is not case:
                problems.append(_duplicate(case, earlier))
        on_case()
    problems += _check_whole(data_set, summaries)
    return DataSetReport(data_set, tuple(summaries), tuple(problems))


def _check_case(data_set: DataSet, case: Case) -> tuple[CaseSummary, list[Problem], str | None]:
    """Read a case and check it; also return a digest of its image, None where it cannot be read."""
    problems: list[Problem] = []
    subset: Literal["train", "test"] = "test" if case.reserved_for_test else "train"
    shape = spacing_mm = intensities = label_voxels = clipped = digest = None
    volume = label_map = None
    try:
        volume = data_set.read_volume(case)
        shape, spacing_mm = volume.shape, volume.spacing_mm if volume.spacing_known else None
        intensities, digest = _intensity_range(volume), _digest(volume.array)
        problems += _check_intensities(data_set, case, volume, *intensities)
    except FileFormatError as error:
        problems.append(Problem(case.name, "error", str(error)))
    try:
        label_map = data_set.read_labels(case)
        label_voxels = _count(label_map, data_set.labels.classes)
        if not any(label_voxels[1:]):
            problems.append(Problem(case.name, "warning", "the mask is empty: no structure is marked"))
    except FileFormatError as error:
        problems.append(Problem(case.name, "error", str(error)))
    if volume is not None and label_map is not None:
        try:
            clipped = _count_clipped(data_set, volume, laid_on(label_map, volume))
        except FileFormatError as error:
            problems.append(Problem(case.name, "error", str(error)))
    return CaseSummary(case.name, subset, shape, spacing_mm, intensities, label_voxels, clipped), problems, digest


def _check_intensities(data_set: DataSet, case: Case, volume: Volume, low: float, high: float) -> Iterator[Problem]:
    if low == high:
        yield Problem(case.name, "warning", f"the image is constant: every voxel is {low:g}")
    elif data_set.modality == "CT":
        for reason in hounsfield_problems(volume, data_set.channels):
            yield Problem(case.name, "warning", f"{reason}; rescale the image: predict refuses such scans")


def _check_whole(data_set: DataSet, summaries: list[CaseSummary]) -> Iterator[Problem]:
    """Yield the problems that only show over all cases."""
    per_mask = [summary.label_voxels for summary in summaries if summary.label_voxels is not None]
    totals = np.sum(per_mask, axis=0) if per_mask else np.zeros(data_set.labels.classes)
    if per_mask and not totals[1:].any():
        yield Problem(None, "error", f"no labels at all in {counted(len(per_mask), 'mask')}; nothing to learn")
    elif per_mask:
        for label in data_set.labels.labels:
            if not totals[label.id]:
                yield Problem(None, "warning", f"label {label.id} ({label.name}) is in no mask")
            if unmarked := sum(label.id in case.unlabelled for case in data_set.cases):
                message = (
                    f"not marked in {unmarked} of {counted(len(data_set.cases), 'case')}, which do not count for it"
                )
                yield Problem(None, "warning", f"label {label.id} ({label.name}): {message}")
    yield from _check_clipping(data_set, summaries)
    try:
        make_split(data_set, seed=0)
    except DataSetError as error:
        yield Problem(None, "error", str(error))


def _check_clipping(data_set: DataSet, summaries: list[CaseSummary]) -> Iterator[Problem]:
    """Yield the structures that the network cannot see into, as most of their voxels become one value."""
    usable = [
        (case.label_voxels, case.clipped_voxels) for case in summaries if case.label_voxels and case.clipped_voxels
    ]
    totals = np.sum([labelled for labelled, _ in usable], axis=0)
    clipped = np.sum([at_an_end for _, at_an_end in usable], axis=0)
    ends = ENDS[data_set.modality]
    for label in data_set.labels.labels if usable else ():
        if clipped[label.id] > MOST_CLIPPED * totals[label.id]:
            share = clipped[label.id] / totals[label.id]
            message = (
                f"label {label.id} ({label.name}): {share:.0%} of its voxels lie outside {ends} in every channel, so "
                "that the network sees one value for them"
            )
            yield Problem(None, "warning", message)


def _count_clipped(data_set: DataSet, volume: Volume, label_map: LabelMap) -> tuple[int, ...]:
    """Count the voxels of each label that have the lowest or the highest value of the network's range, or beyond."""
    preprocessing = Preprocessing.for_modality(data_set.modality, channels=data_set.channels, image_size=64)
    intensities, counts = Intensities.of(volume, preprocessing), np.zeros(256, np.int64)
    for index in range(volume.shape[0]):
        labels = label_map.get(index)
        if labels.any():
            seen = intensities.normalise(volume.intensities(index))  # (channels, rows, columns)
            counts += np.bincount(labels[(seen >= 1).all(axis=0) | (seen <= 0).all(axis=0)], minlength=256)
    return tuple(counts[: data_set.labels.classes].tolist())


def _duplicate(case: Case, earlier: Case) -> Problem:
    """Return the problem of a scan that is there twice: an error where one of the two is for testing."""
    if case.reserved_for_test != earlier.reserved_for_test:
        return Problem(
            case.name, "error", f"the same scan as {earlier.name}, and one of them is for testing; remove one"
        )
    return Problem(
        case.name, "warning", f"the same scan as {earlier.name}; a split may put them on two sides: remove one"
    )


def _intensity_range(volume: Volume) -> tuple[float, float]:
    bounds = sorted(
        float(bound) * volume.slope + volume.intercept for bound in (volume.array.min(), volume.array.max())
    )
    return bounds[0], bounds[1]


def _digest(array: NDArray[Any]) -> str:
    """Return the SHA-256 of shape and numbers; dtype and memory order do not matter."""
    digest = hashlib.sha256(str(array.shape).encode())
    for channel in array:
        for plane in channel:
            digest.update(np.ascontiguousarray(plane, np.float32).tobytes())
    return digest.hexdigest()


def _count(label_map: LabelMap, classes: int) -> tuple[int, ...]:
    counts: Counter[int] = Counter()
    for plane in label_map.array:
        numbers, voxels = np.unique(plane, return_counts=True)
        counts.update(dict(zip(numbers.tolist(), voxels.tolist(), strict=True)))
    return tuple(counts[number] for number in range(classes))
