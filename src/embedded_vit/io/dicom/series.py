"""The series in a folder of DICOM files, and which of them is meant.

Files are known by their content, never by their names. The headers of all files are read to tell the series apart; of
the pixels nothing is read here.

pydicom is imported when a folder is read; a device that reads NIfTI files alone does not need it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.dicom.magic import files_of
from embedded_vit.io.digest import sha256_of

if TYPE_CHECKING:
    from embedded_vit.io.dicom.file import DicomFile

__all__ = ["DicomSeries", "digest_of_series", "find_series"]

LISTED = 8  # series named in a message


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The files of one series, in no order.

    Attributes:
        folder: Where they lie.
        files: At least one.
    """

    folder: Path
    files: Sequence[DicomFile]

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
        return f"number {'unknown' if self.number is None else self.number} ({self.modality}, {slices} slices)"

    def sha256(self) -> str:
        """Read all files and return the digest of the series; see `digest_of_series`."""
        return digest_of_series(sha256_of(file.path) for file in self.files)


def digest_of_series(file_digests: Iterable[str]) -> str:
    """Return the digest of files' digests in ascending order, so that names and folders do not matter.

    Args:
        file_digests: The SHA-256 of each file, in hexadecimal digits.
    """
    return hashlib.sha256("".join(sorted(file_digests)).encode()).hexdigest()


def find_series(folder: Path, *, modality: str | None = None, number: int | None = None) -> DicomSeries:
    """Find the series of a folder that is to be segmented.

    Args:
        folder: Holds the files, of one series or of several; other files in it do not matter.
        modality: What the network is made for: the only series of it is taken, or else the only series there is. None
            where nothing is wanted in particular.
        number: The SeriesNumber of the one to take.

    Raises:
        FileFormatError: A file is damaged, no series is a volume, or several are and `number` does not tell which.
    """
    try:
        from embedded_vit.io.dicom.file import read_file
    except ModuleNotFoundError as error:
        if error.name != "pydicom":
            raise
        raise FileFormatError(f"{folder}: a DICOM series; {missing_extra('pydicom', 'dicom')}") from error

    by_series: dict[str, list[DicomFile]] = defaultdict(list)
    for path in files_of(folder):
        file = read_file(path)
        if file is not None and file.placed:
            by_series[file.series].append(file)
    series = sorted((DicomSeries(folder, files) for files in by_series.values()), key=lambda one: one.number or 0)
    if not series:
        raise FileFormatError(f"{folder}: no DICOM image in this folder says where it lies (ImagePositionPatient)")
    if number is None:
        wanted = [one for one in series if one.modality == modality] or series
    else:
        wanted = [one for one in series if one.number == number]
    if len(wanted) == 1:
        return wanted[0]
    possible = wanted or series
    numbered = len({one.number for one in possible} - {None}) == len(possible)
    raise FileFormatError(
        f"{folder}: {len(possible)} series{'' if wanted else f', and none is number {number}'}: "
        f"{', '.join(map(str, possible[:LISTED]))}{', ...' if len(possible) > LISTED else ''}; "
        f"{'choose one with --series NUMBER' if numbered else 'give each a folder of its own'}"
    )
