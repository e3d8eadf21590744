"""The series in folders of DICOM files, and which of them is meant.

Files are known by their content, never by their names. The headers of all files are read to tell the series apart; of
the pixels nothing is read here. What is in the folders and not in the series is listed.

pydicom is imported when a folder is read; a device that reads NIfTI files alone does not need it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedded_vit.counted import counted
from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.dicom.magic import files_of
from embedded_vit.io.digest import sha256_of

if TYPE_CHECKING:
    from embedded_vit.io.dicom.file import DicomFile, DicomSlice
    from embedded_vit.io.dicom.header import PassedOver

__all__ = ["DicomSeries", "digest_of_series", "find_series", "numbering_remark"]

LISTED = 8  # series named in a message
NOT_SCANS = {"SEG": "segmentations", "RTDOSE": "radiotherapy doses"}  # that lie in a patient and are pixels
UNPLACED = "slice of the series that does not say where it lies (ImagePositionPatient)"


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The files of one series, in no order.

    Attributes:
        folder: Where they lie.
        files: At least one.
        left_out: What else is in the folder, as "16 empty files"; an entry for each kind.
    """

    folder: Path
    files: Sequence[DicomFile]
    left_out: tuple[str, ...] = ()

    @property
    def modality(self) -> str:
        """As `DicomFile.modality`."""
        return self.files[0].modality

    @property
    def number(self) -> int | None:
        """Its SeriesNumber, by which people know it."""
        return self.files[0].number

    def __str__(self) -> str:
        slices = sum(file.frames for file in self.files)
        return (
            f"number {'unknown' if self.number is None else self.number} ({self.modality}, {counted(slices, 'slice')})"
        )

    def sha256(self) -> str:
        """Read all files and return the digest of the series; see `digest_of_series`."""
        return digest_of_series(sha256_of(file.path) for file in self.files)


def digest_of_series(file_digests: Iterable[str]) -> str:
    """Return the digest of files' digests in ascending order, so that names and folders do not matter.

    Args:
        file_digests: The SHA-256 of each file, in hexadecimal digits.
    """
    return hashlib.sha256("".join(sorted(file_digests)).encode()).hexdigest()


def find_series(
    folder: Path | Sequence[Path],
    *,
    modality: str | None = None,
    number: int | None = None,
    uid: str | None = None,
) -> DicomSeries:
    """Find the series that is to be segmented.

    Args:
        folder: Holds the files, of one series or of several, at any depth; series that have a file in the folder itself
            come before those below it. Several folders are taken together, without what lies below them.
        modality: What the network is made for: the only series of it is taken, or else the only series there is. None
            where nothing is wanted in particular.
        number: The SeriesNumber of the one to take.
        uid: The SeriesInstanceUID of the one to take, which counts before the others.

    Raises:
        FileFormatError: A slice is damaged, no series is a volume, or several are and `number` does not tell which.
    """
    if isinstance(folder, Path):
        top, paths = folder, list(files_of(folder))
    else:
        top, paths = folder[0], [path for place in folder for path in files_of(place) if path.parent == place]
    found, passed_over = _read_files(top, paths)
    series = _all_series(top, found)
    if not series:
        raise _no_series(top, found, passed_over)
    chosen = _chosen(top, series, modality, number) if uid is None else _of_uid(top, series, uid)
    for other in passed_over:
        if other.error is not None and other.series == chosen.files[0].series:
            raise other.error
    return replace(chosen, left_out=_left_out(chosen, series, found, passed_over))


def _read_files(top: Path, paths: Iterable[Path]) -> tuple[list[DicomFile], list[PassedOver]]:
    """Read the headers of files: those of images, and the files that are passed over."""
    try:
        from embedded_vit.io.dicom.header import PassedOver, read_file
    except ModuleNotFoundError as error:
        if error.name != "pydicom":
            raise
        raise FileFormatError(f"{top}: a DICOM series; {missing_extra('pydicom', 'dicom')}") from error

    found, passed_over = [], []
    for path in paths:
        file = read_file(path)
        if isinstance(file, PassedOver):
            passed_over.append(file)
        else:
            found.append(file)
    return found, passed_over


def _all_series(top: Path, found: Iterable[DicomFile]) -> list[DicomSeries]:
    """Return the series that may be volumes, by number."""
    by_series: dict[str, list[DicomFile]] = defaultdict(list)
    for file in found:
        if file.placed and not file.localizer:
            by_series[file.series].append(file)
    return sorted((DicomSeries(top, files) for files in by_series.values()), key=lambda one: one.number or 0)


def _chosen(top: Path, series: Sequence[DicomSeries], modality: str | None, number: int | None) -> DicomSeries:
    """Return the one series that is meant, modality first."""
    scans = [one for one in series if one.modality not in NOT_SCANS]
    if number is not None:
        wanted = [one for one in series if one.number == number]
    else:
        wanted = [one for one in scans if one.modality == modality] or scans
    wanted = [one for one in wanted if any(file.path.parent == top for file in one.files)] or wanted
    if len(wanted) == 1:
        return wanted[0]
    if not scans:
        kinds = " and ".join(sorted({NOT_SCANS[one.modality] for one in series}))
        raise FileFormatError(f"{top}: {kinds}, not a scan; give the folder of the CT or MR series")
    possible = wanted or series
    numbered = len({one.number for one in possible} - {None}) == len(possible)
    raise FileFormatError(
        f"{top}: {len(possible)} series{'' if wanted else f', and none is number {number}'}: "
        f"{', '.join(map(str, possible[:LISTED]))}{', ...' if len(possible) > LISTED else ''}; "
        f"{'choose one with --series NUMBER' if numbered else 'give each a folder of its own'}"
    )


def _of_uid(top: Path, series: Sequence[DicomSeries], uid: str) -> DicomSeries:
    for one in series:
        if one.files[0].series == uid:
            return one
    raise FileFormatError(
        f"{top}: the series that the labels were drawn on is not in this folder; copy it there, or remove the labels"
    )


def _no_series(top: Path, found: Sequence[DicomFile], passed_over: Sequence[PassedOver]) -> FileFormatError:
    """Return the error of files none of which is a slice of a volume."""
    for other in passed_over:
        if other.error is not None:
            return other.error
    if found and all(file.localizer for file in found):
        return FileFormatError(f"{top}: localizers (scouts) alone, no series to segment; give the folder of the scan")
    if found:
        return FileFormatError(
            f"{top}: no DICOM image in this folder says where it lies (ImagePositionPatient); export the series again"
        )
    kinds = ", ".join(_counted([other.reason for other in passed_over])) or "nothing"
    return FileFormatError(f"{top}: no DICOM image in this folder: {kinds}; give the folder of a CT or MR series")


def _left_out(
    chosen: DicomSeries, series: Sequence[DicomSeries], found: Sequence[DicomFile], passed_over: Sequence[PassedOver]
) -> tuple[str, ...]:
    """Return what is in the folder and not in the chosen series, an entry for each kind."""
    uid = chosen.files[0].series
    reasons = [other.reason for other in passed_over]
    for file in found:
        if file.localizer:
            reasons.append("localizer")
        elif not file.placed:
            reasons.append(UNPLACED if file.series == uid else f"{file.modality} image without a place")
    return (*_counted(reasons), *(f"series {one}" for one in series if one is not chosen))


def _counted(reasons: Iterable[str]) -> list[str]:
    """Return each reason once, with how often it is there."""
    return [reason if count == 1 else f"{count} x {reason}" for reason, count in Counter(reasons).items()]


def numbering_remark(files: Iterable[DicomFile], ordered: Iterable[DicomSlice]) -> str | None:
    """Say that numbers of slices are skipped, as where every second slice was not copied; None where none are.

    Args:
        files: Of the series.
        ordered: Its slices, sorted by place.
    """
    number_of = {file.path: file.instance for file in files}
    numbers = [number for piece in ordered if piece.frame == 0 and (number := number_of[piece.path]) is not None]
    steps = np.diff(numbers)
    one_way = len(steps) > 1 and ((steps > 0).all() or (steps < 0).all())  # else numbered by another rule than place
    skipped = int((np.abs(steps) - 1).sum()) if one_way else 0
    if not skipped:
        return None
    return f"the numbers of the slices (InstanceNumber) skip {skipped}: were slices lost when the series was copied?"
