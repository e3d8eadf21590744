"""The voxels of a NIfTI file as a stream. Its header is checked before the first voxel, its end after the last."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from embedded_vit.boundary import one_line_errors
from embedded_vit.errors import FileFormatError
from embedded_vit.io.digest import BUFFER_BYTES, HashingReader
from embedded_vit.io.limits import check_array_size, check_compressed_size
from embedded_vit.io.nifti.geometry import NiftiGeometry, read_header, shape_of
from embedded_vit.io.nifti.gunzip import GunzipReader
from embedded_vit.io.nifti.pair import Chained, is_pair, pair_of

__all__ = ["SUFFIX", "SUFFIXES", "Block", "VoxelStream", "is_compressed", "is_nifti", "open_nifti", "open_voxels"]

MOST_TRAILING_BYTES = 1 << 24
BLOCK_BYTES = MOST_EXTENSION_BYTES = 1 << 22
SUFFIX = ".nii.gz"  # of the files that are written here
SUFFIXES: tuple[str, ...] = (SUFFIX, ".nii")


class Block(NamedTuple):
    """Planes of one channel that follow each other in the file."""

    channel: int
    start: int  # the first plane's index along axis 2
    planes: NDArray[Any]  # (axis 0, axis 1, number of planes), native byte order


@dataclass(frozen=True, eq=False)
class VoxelStream:
    """A NIfTI file, opened and read up to its first voxel.

    Attributes:
        file: Stands at the first voxel.
        raw: The file as it lies on the disk, which is hashed while `file` is read.
        shape: (axis 0, axis 1, axis 2), or with the channels on a fourth axis; axis 0 is the fastest.
        stored_dtype: In the byte order of the file.
        slope, intercept: intensity = stored * slope + intercept.
        geometry: Where the voxels lie.
        source: File, for messages.
        after: What was found behind the last voxel when it was read, a sentence; empty where the file ends there.
    """

    file: io.BufferedReader
    raw: HashingReader
    shape: tuple[int, ...]
    stored_dtype: np.dtype[Any]
    slope: float
    intercept: float
    geometry: NiftiGeometry
    source: str
    after: list[str] = field(default_factory=list)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the voxels, in native byte order."""
        return self.stored_dtype.newbyteorder("=")

    @property
    def channels(self) -> int:
        """The number of channels."""
        return self.shape[3] if len(self.shape) == 4 else 1

    @property
    def volume_bytes(self) -> int:
        """The memory that all voxels take."""
        return math.prod(self.shape) * self.stored_dtype.itemsize

    def blocks(self) -> Iterator[Block]:
        """Read all voxels, a few planes at a time, channel after channel.

        Raises:
            FileFormatError: There are fewer bytes, or more; gzip's length and checksum are compared at the end.
        """
        first, second, planes = self.shape[:3]
        plane_bytes = first * second * self.stored_dtype.itemsize
        at_once = max(1, BLOCK_BYTES // plane_bytes)
        done = 0
        for channel in range(self.channels):
            for start in range(0, planes, at_once):
                count = min(at_once, planes - start)
                content = bytearray(count * plane_bytes)
                there = self.file.readinto(content)
                done += there
                if there < len(content):
                    raise FileFormatError(
                        f"{self.source}: truncated: {done:,} of {self.volume_bytes:,} bytes of voxels are there; copy "
                        "the file again"
                    )
                stored = np.frombuffer(content, self.stored_dtype).astype(self.dtype, copy=False)
                yield Block(channel, start, stored.reshape((first, second, count), order="F"))
        self._read_on()

    def _read_on(self) -> None:
        """Read what is behind the last voxel, at whose end gzip's checksum is; other programs ignore it too."""
        more = 0
        try:
            while more <= MOST_TRAILING_BYTES and (content := self.file.read(BLOCK_BYTES)):
                more += len(content)
        except gzip.BadGzipFile as error:
            if not str(error).startswith("Not a gzipped file"):  # but a checksum that is wrong
                raise
            self.after.append("bytes behind the compressed voxels were ignored")
        if more > MOST_TRAILING_BYTES:
            raise FileFormatError(
                f"{self.source}: far more bytes than the header announces; the file is damaged or of another kind"
            )
        if more:
            self.after.append(f"{more:,} bytes behind the last voxel were ignored: is the header right?")

    def read_array(self, blocks: Iterable[Block]) -> NDArray[Any]:
        """Put all blocks together: (channels, axis 0, axis 1, axis 2) in native byte order."""
        array: NDArray[Any] = np.empty((*self.shape[:3], self.channels), self.dtype, order="F")
        for channel, start, planes in blocks:
            array[:, :, start : start + planes.shape[2], channel] = planes
        return np.moveaxis(array, -1, 0)

    def sha256(self) -> str:
        """Return the SHA-256 of the file as it lies on the disk; what is left of it is read."""
        return self.raw.hexdigest()

    def finite_blocks(self) -> Iterator[Block]:
        """Read as `blocks`, and check that every intensity is finite.

        Raises:
            FileFormatError: As `blocks`, or an intensity is NaN or infinite in float32.
        """
        whole_numbers = self.stored_dtype.kind != "f" and (self.slope, self.intercept) == (1.0, 0.0)
        for block in self.blocks():
            for plane in () if whole_numbers else np.moveaxis(block.planes, -1, 0):
                with np.errstate(over="ignore", invalid="ignore"):
                    intensities = plane.astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)
                if not np.isfinite(intensities).all():
                    raise FileFormatError(f"{self.source}: intensities are NaN or infinite; repair the file")
            yield block


def is_nifti(path: str | Path) -> bool:
    """Whether a path is named as a NIfTI file."""
    return str(path).lower().endswith(SUFFIXES)


def is_compressed(path: str | Path) -> bool:
    """Whether a NIfTI file's name says that it is compressed."""
    return str(path).lower().endswith(".gz")


@contextmanager
def open_nifti(path: str | Path) -> Iterator[tuple[io.BufferedReader, HashingReader]]:
    """Open a file, decompressing by its suffix; gives the stream, and the file below it as it lies on the disk.

    Raises:
        FileFormatError: On opening or while it is read: it is missing, not named as a NIfTI file, or damaged.
    """
    with one_line_errors(path, what="the header is damaged"):  # as nibabel understands it; the rest is told below
        if is_pair(path):
            with _open_pair(path) as raw:
                yield raw.buffered(), raw
            return
        if not is_nifti(path):
            raise FileFormatError(f"{path}: not a NIfTI file by its name; .nii or .nii.gz was expected")
        with _open_single(path) as opened:
            yield opened


@contextmanager
def _open_single(path: str | Path) -> Iterator[tuple[io.BufferedReader, HashingReader]]:
    """Open a file of header and voxels."""
    try:
        with open(path, "rb", buffering=0) as file:
            raw = HashingReader(file)
            if not is_compressed(path):
                yield raw.buffered(), raw
                return
            yield io.BufferedReader(GunzipReader(raw.buffered()), BUFFER_BYTES), raw
    except gzip.BadGzipFile as error:
        if str(error).startswith("Not a gzipped file") and _begins_as_nifti(path):
            raise FileFormatError(f"{path}: a NIfTI file that is not compressed; rename it to end in .nii") from error
        raise FileFormatError(f"{path}: truncated or damaged: {str(error).rstrip('.')}; copy the file again") from error
    except (EOFError, zlib.error) as error:
        raise FileFormatError(f"{path}: truncated or damaged: {str(error).rstrip('.')}; copy the file again") from error
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _open_pair(path: str | Path) -> Iterator[HashingReader]:
    """Open a header and the voxels beside it as one file."""
    header, voxels = pair_of(path)
    try:
        with open(header, "rb", buffering=0) as first, open(voxels, "rb", buffering=0) as second:
            yield HashingReader(Chained([first, second]))
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def _begins_as_nifti(path: str | Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(4)
    sizes = (Nifti1Header.sizeof_hdr, Nifti2Header.sizeof_hdr)
    return any(size.to_bytes(4, order) == start for size in sizes for order in ("little", "big"))


@contextmanager
def open_voxels(path: str | Path, channels: int | None) -> Iterator[VoxelStream]:
    """Open a file and check all that its header says, before memory is asked for; gives it at its first voxel.

    Args:
        path: A `.nii` or `.nii.gz` file.
        channels: How many are expected on a fourth axis; 1 for a file of three axes; None takes either.

    Raises:
        FileFormatError: As `open_nifti`, or the header is damaged, announces what no scanner makes, or has another
            number of axes or channels.
    """
    source = str(path)
    with open_nifti(path) as (file, raw):
        header = read_header(file, source)
        shape = _expected_shape(header, channels, source)
        dtype = _voxel_dtype(header, source)
        check_array_size(shape, dtype.itemsize, source)
        geometry = NiftiGeometry.of_header(header, source)
        slope, intercept = _scaling(header, source)
        stream = VoxelStream(file, raw, shape, dtype, slope, intercept, geometry, source)
        header_bytes, there = 0, Path(path).stat().st_size
        if is_pair(path):
            header_bytes, there = (part.stat().st_size for part in pair_of(path))
        if is_compressed(path):
            check_compressed_size(there, stream.volume_bytes, source)
        elif there < stream.volume_bytes:
            raise FileFormatError(
                f"{source}: truncated: {there:,} bytes cannot hold the {stream.volume_bytes:,} bytes of voxels that "
                "the header announces; copy the file again"
            )
        _skip_to_voxels(file, header, source, header_bytes)
        yield stream


def _expected_shape(header: Nifti1Header, channels: int | None, source: str) -> tuple[int, ...]:
    shape = shape_of(header)
    shape += (1,) * (3 - len(shape))  # one slice
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    lengths = " x ".join(str(length) for length in shape)
    axes = {1: (3,), None: (3, 4)}.get(channels, (4,))
    if len(shape) not in axes:
        wanted = {1: "3-D", None: "3-D or 4-D"}.get(channels, f"4-D with {channels} channels")
        raise FileFormatError(f"{source}: {len(shape)}-D ({lengths}) where {wanted} is expected")
    if len(shape) == 4 and channels not in (None, shape[3]):
        raise FileFormatError(f"{source}: {shape[3]} channels ({lengths}) where {channels} are expected")
    return shape


def _voxel_dtype(header: Nifti1Header, source: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (KeyError, ValueError, HeaderDataError) as error:
        raise FileFormatError(f"{source}: unknown data type code {int(header['datatype'])}") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = "RGB or bits" if dtype.kind == "V" else str(dtype)
        raise FileFormatError(f"{source}: voxels are {name}; integers or floating point numbers are expected")
    return dtype


def _scaling(header: Nifti1Header, source: str) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):  # the standard's "not scaled" is 0; nibabel writes NaN
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise FileFormatError(f"{source}: the intercept (scl_inter) is {intercept}; repair the header")
    return slope, intercept


def _skip_to_voxels(file: io.BufferedReader, header: Nifti1Header, source: str, header_bytes: int) -> None:
    """Read over header extensions, which may hold text about the patient and are never kept.

    Args:
        file: Stands behind the header.
        header: Says where the voxels start: in the file, or in the second file of a pair.
        source: File, for messages.
        header_bytes: Length of the first file of a pair, else 0.
    """
    offset = float(header["vox_offset"]) + header_bytes
    first = header_bytes or header.sizeof_hdr + 4
    if not first <= offset <= MOST_EXTENSION_BYTES:  # NaN fails too
        raise FileFormatError(
            f"{source}: voxels are said to start at byte {offset:g}; {first} or a little more expected"
        )
    skip = int(offset) - header.sizeof_hdr
    if len(file.read(skip)) < skip:
        raise FileFormatError(f"{source}: truncated before the first voxel; copy the file again")
