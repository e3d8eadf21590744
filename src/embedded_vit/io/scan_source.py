"""The one door to scans: every file, folder or volume that can be segmented is opened here.

    path or Volume --open_scan--> ScanSource --read--> Volume in memory
                                             --spool-> Scan on the disk

A format is a subclass of `ScanSource` in a folder of its own, and a line in `FORMATS`. Nobody outside `io/` looks at a
path's suffix or at what a folder holds; they ask `is_scan`, `scan_stem` and `data_files`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedded_vit.counted import counted
from embedded_vit.errors import FileFormatError
from embedded_vit.io.base import ScanSource
from embedded_vit.io.channels import ChannelFiles
from embedded_vit.io.dicom.source import DicomSource
from embedded_vit.io.itk.source import ItkSource
from embedded_vit.io.nifti.source import NiftiSource
from embedded_vit.io.pictures.source import PictureSource
from embedded_vit.io.transunet.source import H5Source
from embedded_vit.volume import TRAINING_ORIENTATION, LabelMap, Volume

__all__ = [
    "EXPECTED",
    "FORMATS",
    "ScanSource",
    "data_files",
    "data_suffix",
    "data_suffixes",
    "is_scan",
    "kinds_in",
    "open_scan",
    "read_mask",
    "same_format",
    "scan_stem",
]

FORMATS: tuple[type[ScanSource], ...] = (NiftiSource, ItkSource, H5Source, PictureSource, DicomSource)
EXPECTED = f"{', '.join(kind.described for kind in FORMATS[:-1])}, or {FORMATS[-1].described}"  # for messages


def open_scan(
    scan: str | Path | Volume | Sequence[str | Path],
    *,
    modality: str | None = None,
    channels: int | None = None,
    series: int | None = None,
) -> ScanSource:
    """Open a scan: read its header and check it; no voxel is read.

    Args:
        scan: A file, a folder with a DICOM series, or a volume in memory. Several files are the channels of one scan,
            in order; several folders hold one series.
        modality: What the scan is wanted for, "CT" or "MR". Of several series in a folder, the only one of that
            modality is taken; a scan of another modality is opened nevertheless, and `ScanSource.modality` says so.
        channels: How many channels a NIfTI file is expected to have; None takes as many as it has.
        series: The SeriesNumber of the series to take, where a folder holds several.

    Raises:
        FileFormatError: There is no such file, its format is not known, its header is damaged or announces more than
            is read, it has another number of channels, or it is not clear which series is meant.
    """
    if isinstance(scan, Volume):
        return VolumeSource(scan)
    if isinstance(scan, (list, tuple)) and len(scan) > 1:
        paths = [Path(path) for path in scan]
        if all(path.is_dir() for path in paths):
            return DicomSource.open_together(paths, modality=modality, series=series)
        return ChannelFiles([open_scan(path, modality=modality, channels=1, series=series) for path in paths])
    if isinstance(scan, (list, tuple)) and scan:
        (scan,) = scan
    if not isinstance(scan, (str, os.PathLike)):
        raise FileFormatError(
            f"a scan of type {type(scan).__name__}: a path or an embedded_vit.volume.Volume is expected; an array "
            "becomes one with Volume(array[None], affine)"
        )
    path = Path(scan)
    if not path.is_file() and not path.is_dir():
        raise FileFormatError(f"{path}: there is no such file")
    for kind in FORMATS:
        if kind.takes(path):
            return kind.open(path, modality=modality, channels=channels, series=series)
    raise FileFormatError(f"{path}: expected {EXPECTED}")


def is_scan(path: Path) -> bool:
    """Whether a path is a scan: a file by its name, a folder by the files in it.

    Raises:
        FileFormatError: The folder cannot be read.
    """
    return any(kind.is_scan(path) for kind in FORMATS)


def scan_stem(path: Path) -> str:
    """Return a scan's name without the suffix of its format: `case` for `case.nii.gz`, `case.npy.h5` or a folder."""
    for suffix in (suffix for kind in FORMATS for suffix in kind.suffixes):
        if path.name.lower().endswith(suffix) and not path.is_dir():
            return path.name[: -len(suffix)]
    return path.name


def data_suffixes() -> list[str]:
    """Return the suffixes that files of a data set may have."""
    return [suffix for kind in FORMATS for suffix in kind.data_suffixes]


def data_suffix(name: str) -> str:
    """Return the suffix that makes a name one of a data set's files, in lower case; "" for other names."""
    return next((suffix for suffix in data_suffixes() if name.lower().endswith(suffix)), "")


def data_files(folder: Path) -> list[Path]:
    """Return the scans or masks that lie in a folder of a data set, sorted; none where there is no such folder.

    They are of one format: where there are several, of the first in `FORMATS`. So pictures that somebody drew of
    volumes do not count. Hidden files (macOS leaves `._CASE.nii.gz`) do not count either.
    """
    if not folder.is_dir():
        return []
    return same_format(sorted(path for path in folder.iterdir() if not path.name.startswith(".")))


def kinds_in(folder: Path) -> str:
    """Return how many files of which kind a folder holds, for example "60 files of .webp"; "" for none."""
    kinds = Counter(path.suffix.lower() for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    return " and ".join(
        f"{counted(number, 'file')} {f'of {kind}' if kind else 'without a suffix'}"
        for kind, number in kinds.most_common(2)
    )


def same_format(paths: Sequence[Path]) -> list[Path]:
    """Return those files that are of one format, of the first in `FORMATS` where there are several."""
    for kind in FORMATS:
        found = [path for path in paths if path.name.lower().endswith(kind.data_suffixes)]
        if kind.data_suffixes and found:
            return found
    return []


def read_mask(path: Path) -> LabelMap:
    """Read a mask of any format that a data set may hold.

    Raises:
        FileFormatError: It is unreadable or damaged, its format is not known, or a number is not a label.
    """
    for kind in FORMATS:
        if kind.data_suffixes and path.name.lower().endswith(kind.data_suffixes):
            return kind.read_mask(path)
    raise FileFormatError(f"{path}: masks are not read from such files; expected {EXPECTED}")


class VolumeSource(ScanSource):
    """A volume in memory, which is a scan as any other: it is read already, and it is not put onto the disk."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.source = volume.source
        self.channels = volume.channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return self._volume.shape

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, array index -> RAS+ mm."""
        return self._volume.affine

    @property
    def volume_bytes(self) -> int:
        """0: it takes no more memory than it does."""
        return 0

    def read(self) -> Volume:
        """Return the volume."""
        return self._volume

    def spool(self, folder: Path | None = None, *, orientation: str = TRAINING_ORIENTATION) -> Volume:
        """Return the volume, in memory as it is."""
        return self._volume

    def sha256(self) -> None:
        """Return None: there is no file."""
