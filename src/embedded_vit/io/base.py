"""The interface of a scan that was opened; `scan_source.open_scan` opens one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.errors import FileFormatError
from embedded_vit.io.nifti.geometry import NiftiGeometry
from embedded_vit.volume import TRAINING_ORIENTATION, LabelMap, Scan, Volume

__all__ = ["ScanSource"]


class ScanSource(ABC):
    """A scan whose header was read and checked, and whose voxels were not read yet.

    `read` or `spool` reads the voxels, once, and closes the source. A source that is not read is closed by `close`, or
    by the `with` statement that it stands in.

    A format is a subclass, in a folder of its own, with a line in the table of `scan_source.py`.

    Attributes:
        format: The format's name, as the summary beside a mask has it; None for a volume in memory.
        described: What a user gives, for messages: "a NIfTI file (.nii.gz, .nii)".
        suffixes: Endings of the names of such files, in lower case, the longest first; none where a folder is a scan.
        data_suffixes: Those that files of a data set may have, scans and masks; none where the format is not for them.
        source: The path, for messages.
        modality: "CT", "MR" or another code of DICOM, as the file states it; None where the format does not.
        channels: The number of channels.
        remarks: What a person should know of how it was read, a sentence each.
    """

    format: ClassVar[str | None] = None
    described: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    data_suffixes: ClassVar[tuple[str, ...]] = ()

    source: str
    modality: str | None = None
    channels: int = 1
    remarks: tuple[str, ...] = ()

    @classmethod
    def takes(cls, path: Path) -> bool:
        """Whether `open` is to be tried on a path; by its name, not by its content."""
        return path.name.lower().endswith(cls.suffixes) and not path.is_dir()

    @classmethod
    def is_scan(cls, path: Path) -> bool:
        """Whether a path that a search came across is a scan of this format; it may be looked into."""
        return cls.takes(path)

    @classmethod
    def open(cls, path: Path, *, modality: str | None, channels: int | None, series: int | None) -> Self:
        """Open a scan; arguments and errors as `scan_source.open_scan`."""
        raise NotImplementedError(f"{cls.__name__} is not opened by a path")

    @classmethod
    def read_mask(cls, path: Path) -> LabelMap:
        """Read a mask: integers from 0 to 255, whatever they are stored as.

        Raises:
            FileFormatError: The file is unreadable or damaged, or a number is not a label.
        """
        raise FileFormatError(f"{path}: masks are not read from such files")

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Length of the three array axes, in the order of the file."""

    @property
    @abstractmethod
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, array index -> RAS+ mm."""

    @cached_property
    def geometry(self) -> NiftiGeometry:
        """Where the voxels lie, as the header of a mask's file says it.

        Raises:
            FileFormatError: The affine is not finite or is singular.
        """
        return NiftiGeometry.from_affine(self.shape, self.affine, self.source)

    @property
    @abstractmethod
    def volume_bytes(self) -> int:
        """Memory that the voxels take when `read` has read them."""

    @property
    def mask_bytes(self) -> int:
        """Memory that a mask on the scan's grid takes."""
        return math.prod(self.shape)

    @property
    def needed_bytes(self) -> int:
        """Memory that the scan and its mask are still to take."""
        return self.volume_bytes + self.mask_bytes

    @abstractmethod
    def read(self) -> Volume:
        """Read the voxels into memory: (channels, *shape), in the numbers that the file stores.

        Raises:
            FileFormatError: The file is truncated or damaged, or an intensity is NaN or infinite.
        """

    @abstractmethod
    def spool(self, folder: Path | None = None, *, orientation: str = TRAINING_ORIENTATION) -> Scan:
        """Read the voxels into temporary files, a few slices at a time; the scan is the one that `read` gives.

        Args:
            folder: Where the temporary files of the scan and of its mask go; None for the system's own place (TMPDIR).
            orientation: The one in which slices will be read; in no other can they be.

        Raises:
            FileFormatError: As `read`.
            OutputError: The disk does not hold the scan and its mask.
        """

    @abstractmethod
    def sha256(self) -> str | None:
        """Return the SHA-256 of what was read, as 64 hexadecimal digits; None for a volume in memory.

        Where the voxels were read, it was taken on the way, unless the format says otherwise.

        Raises:
            FileFormatError: The file cannot be read.
        """

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Close the file, where the voxels were not read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
