"""Arrays that do not fit into memory, each in a temporary file that vanishes with the process.

A NIfTI file is read and written plane by plane along its last axis. A scan is segmented slice by slice along the axis
that runs to the patient's head. A `Spool` is cut along the latter and filled or emptied along the former, a block of
planes at a time. So no orientation of a file costs a seek for every voxel.

Why these files are not mapped into memory stands in docs/log/memory-and-reading.md.
"""

from __future__ import annotations

import errno
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedded_vit.errors import OutputError

__all__ = ["Spool", "check_free_disk"]


class Spool:
    """A three-axis array in an unlinked temporary file; every slice along one axis lies there in one piece.

    Attributes:
        axes: The array's axes in the order of the file: the one that it is cut along, then the others, slowest first.
        shape: Length of each of `axes`: (slices, slower, faster).
        dtype: Of one voxel, in native byte order.
        folder: Where the temporary file lies; None for the system's own place (TMPDIR).
    """

    def __init__(
        self, array_shape: tuple[int, int, int], dtype: np.dtype[Any], *, slice_axis: int, folder: Path | None = None
    ) -> None:
        """Make a spool of zeros.

        Args:
            array_shape: Length of the array's axes 0, 1 and 2; as in NIfTI, axis 2 is the slowest.
            dtype: Of one voxel.
            slice_axis: The axis that it is cut along.
            folder: Where to put the file.

        Raises:
            OutputError: The folder cannot be written.
        """
        self.axes = (slice_axis, *(axis for axis in (2, 1, 0) if axis != slice_axis))
        self.shape = (array_shape[self.axes[0]], array_shape[self.axes[1]], array_shape[self.axes[2]])
        self.dtype = dtype
        self.folder = folder
        with self._one_line_errors():
            self._file = tempfile.TemporaryFile(prefix=".embedded-vit-", dir=folder)  # noqa: SIM115  # closed with the spool
            self._file.truncate(math.prod(self.shape) * dtype.itemsize)

    def read_slice(self, index: int) -> NDArray[Any]:
        """Read one slice, (slower, faster)."""
        return self._read(index, 0, self.shape[1])

    def write_slice(self, index: int, plane: NDArray[Any]) -> None:
        """Replace one slice by `plane`, (slower, faster)."""
        self._write(index, 0, plane)

    def read_planes(self, start: int, stop: int) -> NDArray[Any]:
        """Read the planes from `start` to `stop` along the array's axis 2: (axis 0, axis 1, stop - start)."""
        if self.axes[0] == 2:
            block = np.stack([self.read_slice(index) for index in range(start, stop)])
        else:
            block = np.stack([self._read(index, start, stop) for index in range(self.shape[0])])
        return block.transpose(np.argsort(self.axes))

    def write_planes(self, start: int, planes: NDArray[Any]) -> None:
        """Replace the planes from `start` on along axis 2 by `planes`, (axis 0, axis 1, number of planes)."""
        block = planes.transpose(self.axes)
        for index, part in enumerate(block):
            if self.axes[0] == 2:
                self.write_slice(start + index, part)
            else:
                self._write(index, start, part)

    def _read(self, index: int, start: int, stop: int) -> NDArray[Any]:
        """Read the rows from `start` to `stop` of a slice: (stop - start, faster)."""
        rows = np.empty((stop - start, self.shape[2]), self.dtype)
        with self._one_line_errors():
            self._seek(index, start)
            filled = self._file.readinto(rows.view(np.uint8).data)
        if filled != rows.nbytes:
            raise OutputError(f"{self._place}: the temporary file was cut short; is the disk damaged?")
        return rows

    def _write(self, index: int, start: int, rows: NDArray[Any]) -> None:
        """Write rows of a slice, (rows, faster), from row `start` on."""
        with self._one_line_errors():
            self._seek(index, start)
            self._file.write(np.ascontiguousarray(rows, self.dtype).data)

    def _seek(self, index: int, row: int) -> None:
        self._file.seek((index * self.shape[1] + row) * self.shape[2] * self.dtype.itemsize)

    @property
    def _place(self) -> str:
        return str(self.folder or tempfile.gettempdir())

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = "the disk is full" if error.errno == errno.ENOSPC else (error.strerror or str(error))
            raise OutputError(
                f"{self._place}: cannot keep a scan here that is larger than the memory allowed: {reason}; make room, "
                "or allow more memory"
            ) from error


def check_free_disk(needed_bytes: int, folder: Path | None) -> None:
    """Refuse temporary files that the disk cannot hold.

    Args:
        needed_bytes: Of all temporary files together.
        folder: Where they will lie; None for the system's own place (TMPDIR).

    Raises:
        OutputError: Less is free, or the folder is not there.
    """
    place = str(folder or tempfile.gettempdir())
    try:
        free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        raise OutputError(f"{place}: cannot keep temporary files here: {error.strerror or error}") from error
    if free_bytes < needed_bytes:
        raise OutputError(
            f"{place}: a scan larger than the memory allowed needs {needed_bytes:,} bytes of disk while it is "
            f"segmented, {free_bytes:,} are free; make room, or allow more memory"
        )
