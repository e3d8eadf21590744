"""A folder of DICOM files becomes a volume: one series, its slices sorted by where they lie, or one line why not.

Files are known by their content, never by their names. The array's axes are column, row and slice, as they come in the
files; only the world is turned, from DICOM's LPS+ to RAS+. A series whose slices do not lie at even distances, or where
one is missing or there twice, is refused: a mask on it would lie elsewhere than what it marks. A tilted gantry shifts
each slice against the one below; the affine holds that shift.

pydicom is imported when a series is read; a device that reads NIfTI files alone needs none.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.limits import check_array_size
from embedded_vit.io.spool import Spool, SpooledVolume, SpoolView, check_free_disk, slice_axis_of
from embedded_vit.volume import Volume, check_affine

if TYPE_CHECKING:
    from embedded_vit.io.dicom.file import DicomFile, DicomSlice

__all__ = ["DicomSeries", "DicomStack", "find_series", "holds_dicom"]

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
SEPARATE = "give a folder with the slices of one volume"
TOLERANCE = 0.1  # of the distance between slices: how far a slice may lie from its even place
SAME = 1e-3  # rounding: how much the directions (cosines) and pixel spacings (mm) of a series may differ
LISTED = 8  # series named in a message
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def holds_dicom(folder: Path) -> bool:
    """Whether a folder holds DICOM files, whatever their names.

    Raises:
        FileFormatError: The folder or a file in it cannot be read.
    """
    return next(_dicom_files(folder), None) is not None


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
        """The digest of its files' digests in ascending order, so that names and folders do not matter."""
        digests = sorted(sha256_of(file.path) for file in self.files)
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def stack(self) -> DicomStack:
        """Sort the slices and check that they are a volume; no voxel is read.

        Raises:
            FileFormatError: As `DicomFile.slices`, or the slices differ in size, type, direction or spacing, lie at
                uneven distances, one is missing or there twice, or they are more than is read.
        """
        source = str(self.folder)
        slices = [piece for file in self.files for piece in file.slices()]
        first = slices[0]
        check_array_size((*first.shape, len(slices)), first.dtype.itemsize, source)
        if any(piece.shape != first.shape or piece.dtype != first.dtype for piece in slices):
            raise FileFormatError(f"{source}: the slices of the series are not all of one size and type; {SEPARATE}")
        plane = [np.array([*piece.directions.ravel(), *piece.spacing_mm]) for piece in slices]
        if np.abs(np.array(plane) - plane[0]).max() > SAME:
            raise FileFormatError(f"{source}: the slices of the series differ in direction or spacing; {SEPARATE}")
        ordered, step = _ordered(slices, source)
        affine = _affine(ordered[0], step)
        check_affine(affine, source)
        return DicomStack(ordered, affine, source)


@dataclass(frozen=True, eq=False)
class DicomStack:
    """The slices of a volume, from the first to the last, not yet read.

    Attributes:
        slices: Sorted along the normal of their plane, at even distances.
        affine: (4, 4) float64, (column, row, slice) -> RAS+ mm.
        source: The folder, for messages.
    """

    slices: Sequence[DicomSlice]
    affine: NDArray[np.float64]
    source: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(columns, rows, slices)."""
        rows, columns = self.slices[0].shape
        return columns, rows, len(self.slices)

    @property
    def scaling(self) -> tuple[float, float]:
        """Slope and intercept of the volume's numbers: 1 and 0 where its slices are not all scaled alike."""
        return (self.slices[0].slope, self.slices[0].intercept) if self._scaled_alike else (1.0, 0.0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the volume's numbers: as stored, or float32 intensities where its slices are not all scaled alike."""
        return self.slices[0].dtype if self._scaled_alike else np.dtype(np.float32)

    @cached_property
    def _scaled_alike(self) -> bool:
        return len({(piece.slope, piece.intercept) for piece in self.slices}) == 1

    @property
    def volume_bytes(self) -> int:
        """Of all voxels together."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> Volume:
        """Read the voxels into memory.

        Raises:
            FileFormatError: As `decoded_slices`, or a slice is not of the size and type that its header announces.
        """
        columns, rows, slices = self.shape
        array: NDArray[Any] = np.empty((1, slices, rows, columns), self.dtype)
        for index, plane in self._planes():
            array[0, index] = plane
        return Volume(array.transpose(0, 3, 2, 1), self.affine, *self.scaling, source=self.source)

    def spool(self, folder: Path | None = None) -> SpooledVolume:
        """Read the voxels onto the disk, a slice at a time.

        Args:
            folder: Where the temporary files go, of this scan and of its mask; None for the system's own (TMPDIR).

        Raises:
            FileFormatError: As `read`.
            OutputError: The disk does not hold the scan and its mask.
        """
        check_free_disk(self.volume_bytes + math.prod(self.shape), folder)
        spool = Spool(self.shape, self.dtype, slice_axis=slice_axis_of(self.affine), folder=folder)
        lowest = math.inf
        for index, plane in self._planes():
            spool.write_planes(index, plane.T[..., None])  # (columns, rows, 1)
            lowest = min(lowest, float(plane.min()))
        view = SpoolView(self.shape, spool.axes)
        return SpooledVolume((spool,), view, lowest, self.affine, *self.scaling, source=self.source)

    def _planes(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Each slice's place and its numbers, (rows, columns) of `dtype`; file by file, in any order."""
        from embedded_vit.io.dicom.file import decoded_slices

        of_file = defaultdict(list)
        for index, piece in enumerate(self.slices):
            of_file[piece.path].append(index)
        for path, indices in of_file.items():
            decoded = decoded_slices(path, [self.slices[index].frame for index in indices])
            for index, stored in zip(indices, decoded, strict=True):
                yield index, self._as_expected(self.slices[index], stored)

    def _as_expected(self, piece: DicomSlice, stored: NDArray[Any]) -> NDArray[Any]:
        """A decoded slice, its padding made air, in the numbers of the volume."""
        if stored.shape != piece.shape or not np.can_cast(stored.dtype, piece.dtype):
            raise FileFormatError(f"{piece.path}: the slice is not what its header announces; copy the file again")
        if piece.padding is not None:
            low, high = piece.padding
            stored = np.where((stored >= low) & (stored <= high), piece.dtype.type(piece.air), stored)
        if self._scaled_alike:
            return stored
        return (stored * piece.slope + piece.intercept).astype(np.float32)


def find_series(folder: Path, *, modality: str, number: int | None = None) -> DicomSeries:
    """Find the series of a folder that is to be segmented.

    Args:
        folder: Holds the files, of one series or of several; other files in it do not matter.
        modality: What the network is made for: the only series of it is taken, or else the only series there is.
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
    for path in _dicom_files(folder):
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


def _dicom_files(folder: Path) -> Iterator[Path]:
    """The DICOM files of a folder, by their content."""
    try:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name != "DICOMDIR":  # the index of a disk, always named so
                with open(path, "rb") as file:
                    if file.read(PREAMBLE_BYTES + len(MAGIC))[PREAMBLE_BYTES:] == MAGIC:
                        yield path
    except OSError as error:
        raise FileFormatError(f"{folder}: cannot be read: {error.strerror or error}") from error


def _ordered(slices: Sequence[DicomSlice], source: str) -> tuple[list[DicomSlice], NDArray[np.float64]]:
    """Sort slices along the normal of their plane; the step from each to the next, (3,) LPS+ mm.

    Raises:
        FileFormatError: They do not lie at even distances; the only one has no thickness.
    """
    across, down = slices[0].directions
    normal = np.cross(across, down)
    positions = np.array([piece.position for piece in slices])
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [slices[index] for index in order]
    if len(slices) == 1:
        thickness_mm = slices[0].thickness_mm or 0.0
        if thickness_mm <= 0:
            raise FileFormatError(f"{source}: a single slice without a SliceThickness; give the whole series")
        return ordered, normal * thickness_mm
    positions = positions[order]
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    _check_even(positions, positions @ normal, step, source)
    return ordered, step


def _check_even(
    positions: NDArray[np.float64], heights_mm: NDArray[np.float64], step: NDArray[np.float64], source: str
) -> None:
    """Refuse slices at other places than first + index * step, and say what is wrong with them.

    Args:
        positions: (slices, 3), sorted.
        heights_mm: (slices,) along the normal.
        step: (3,).
        source: For messages.
    """
    gaps_mm = np.diff(heights_mm)
    usual_mm = float(np.quantile(gaps_mm, 0.5, method="lower"))  # of two gaps, one twice as wide, the narrow one
    if gaps_mm.min() <= TOLERANCE * usual_mm:
        raise FileFormatError(
            f"{source}: several slices of the series lie at the same place: copies, or more than one volume (phases, "
            f"echoes); {SEPARATE}"
        )
    strayed_mm = np.linalg.norm(positions - positions[0] - np.arange(len(positions))[:, None] * step, axis=1)
    if strayed_mm.max() <= TOLERANCE * np.linalg.norm(step):
        return
    missing = np.rint(gaps_mm / usual_mm) - 1
    if missing.any() and np.abs(gaps_mm / usual_mm - missing - 1).max() <= TOLERANCE:
        raise FileFormatError(
            f"{source}: slices missing between the first and the last: {missing.sum():.0f}; copy the series again"
        )
    raise FileFormatError(
        f"{source}: the slices lie {gaps_mm.min():.3g} to {gaps_mm.max():.3g} mm apart and up to "
        f"{strayed_mm.max():.3g} mm beside an even row; resample the series to one distance"
    )


def _affine(first: DicomSlice, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4), (column, row, slice) -> RAS+ mm."""
    row_mm, column_mm = first.spacing_mm  # from row to row is along a column
    across, down = first.directions
    affine = np.eye(4)
    affine[:3] = np.stack([across * column_mm, down * row_mm, step, first.position], axis=1)
    affine[:3] *= LPS_TO_RAS[:, None]
    return affine
