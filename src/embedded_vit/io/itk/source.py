"""An NRRD or MetaImage file as a scan.

SimpleITK reads; what comes of it is in the file's own axis order, and only the world is turned, from ITK's LPS+ to
RAS+. SimpleITK is imported when a file is opened: a device that reads other formats needs none.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embedded_vit.errors import FileFormatError, missing_extra
from embedded_vit.io.base import ScanSource
from embedded_vit.io.digest import sha256_of
from embedded_vit.io.itk.header import VoxelFile
from embedded_vit.io.label_values import labels_from
from embedded_vit.io.limits import check_array_size, check_compressed_size
from embedded_vit.volume import TRAINING_ORIENTATION, LabelMap, Scan, Volume, check_affine

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["ItkSource"]

SUFFIXES = (".seg.nrrd", ".nrrd", ".mha", ".mhd")  # the first as 3D Slicer names masks
TO_RAS = np.diag([-1.0, -1.0, 1.0])
FLAT = "a 2-D image, taken as one slice {:g} mm thick: volumes are only as right as that"


class ItkSource(ScanSource):
    """A file whose header SimpleITK has read."""

    format: ClassVar[str] = "ITK"
    described: ClassVar[str] = "an NRRD or MetaImage file (.nrrd, .mha, .mhd)"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    data_suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def __init__(self, path: Path, *, channels: int | None = None) -> None:
        """Have SimpleITK read the header of a file.

        Args:
            path: Ends in one of the suffixes.
            channels: How many are expected; None takes as many as it has.

        Raises:
            FileFormatError: SimpleITK is not installed, or the file is not one that is read.
        """
        self._path, self.source = path, str(path)
        voxels = VoxelFile.of(path)
        self._reader = _reader(path)
        size, spacing = self._reader.GetSize(), self._reader.GetSpacing()
        axes = self._reader.GetDimension()
        if axes not in (2, 3):
            raise FileFormatError(f"{path}: {axes} axes; a volume of 3 is expected: save one volume per file")
        self.channels = self._reader.GetNumberOfComponents()
        if channels is not None and channels != self.channels:
            raise FileFormatError(f"{path}: {self.channels} channels, where {channels} are expected")
        self._shape = (int(size[0]), int(size[1]), int(size[2]) if axes == 3 else 1)
        self._affine = _affine(self._reader, axes)
        self.remarks = (FLAT.format(min(spacing)),) if axes == 2 else ()
        item = _bytes_per_number(_kind_of_numbers(self._reader), self.source)
        check_array_size((self.channels, *self._shape), item, self.source)
        check_affine(self._affine, self.source, self._shape)
        self._bytes = self.channels * math.prod(self._shape) * item
        check_compressed_size(voxels.path.stat().st_size, self._bytes, self.source)
        if path.name.lower().endswith((".mha", ".mhd")) and voxels.is_shorter_than(self._bytes):
            raise FileFormatError(f"{path}: truncated or damaged; copy the file again")

    @classmethod
    def open(cls, path: Path, *, modality: str | None, channels: int | None, series: int | None) -> Self:
        """Open a file; of the arguments only `channels` says something about it."""
        return cls(path, channels=channels)

    @classmethod
    def read_mask(cls, path: Path) -> LabelMap:
        """Read a mask; see `ScanSource.read_mask`."""
        source = cls(path)
        if source.channels != 1:
            raise FileFormatError(
                f"{path}: {source.channels} layers, as 3D Slicer saves structures that overlap; export it as a labelmap"
            )
        return LabelMap(labels_from(source._array()[0], source.source), source.affine, source=source.source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Length of the three array axes."""
        return self._shape

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, array index -> RAS+ mm."""
        return self._affine

    @property
    def volume_bytes(self) -> int:
        """Memory that the voxels take when `read` has read them."""
        return self._bytes

    def read(self) -> Volume:
        """Read the voxels into memory, in the file's dtype."""
        array = self._array()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FileFormatError(f"{self.source}: intensities are NaN or infinite; repair the scan")
        return Volume(array, self.affine, source=self.source)

    def spool(self, folder: Path | None = None, *, orientation: str = TRAINING_ORIENTATION) -> Scan:
        """Refuse: SimpleITK reads a whole volume into memory.

        Raises:
            FileFormatError: Always.
        """
        raise FileFormatError(
            f"{self.source}: needs {self.needed_bytes / 2**20:.0f} MiB of memory; allow more (--memory), or convert it "
            "to .nii.gz, which is read from the disk"
        )

    def sha256(self) -> str:
        """Return the SHA-256 of the file; of a `.mhd` that of its header."""
        return sha256_of(self._path)

    def _array(self) -> NDArray[Any]:
        """Return the voxels as (channels, axis 0, axis 1, axis 2)."""
        import SimpleITK

        try:
            array = SimpleITK.GetArrayFromImage(self._reader.Execute())  # ([slices,] rows, columns [, channels])
        except RuntimeError as error:
            raise FileFormatError(f"{self.source}: truncated or damaged; copy the file again") from error
        columns, rows, slices = self._shape
        array = array.reshape(slices, rows, columns, self.channels)
        return array.transpose(3, 2, 1, 0)  # (channels, columns, rows, slices)


def _reader(path: Path) -> SimpleITK.ImageFileReader:
    """Return a reader of one of the two formats that has read the header.

    Raises:
        FileFormatError: SimpleITK is not installed or does not understand the header.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise FileFormatError(f"{path}: {missing_extra('SimpleITK, which reads such files,', 'itk')}") from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if path.name.lower().endswith(".nrrd") else "MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise FileFormatError(f"{path}: the header is damaged, or of another kind; save the file again") from error
    return reader


def _affine(reader: SimpleITK.ImageFileReader, axes: int) -> NDArray[np.float64]:
    """Return where voxels lie: (4, 4), array index -> RAS+ mm; a 2-D image lies at height 0."""
    spacing, origin = np.ones(3), np.zeros(3)
    direction = np.eye(3)
    spacing[:axes], origin[:axes] = reader.GetSpacing(), reader.GetOrigin()
    spacing[axes:] = spacing[:axes].min()
    direction[:axes, :axes] = np.reshape(reader.GetDirection(), (axes, axes))
    affine = np.eye(4)
    affine[:3, :3] = TO_RAS @ direction @ np.diag(spacing)
    affine[:3, 3] = TO_RAS @ origin
    return affine


def _kind_of_numbers(reader: SimpleITK.ImageFileReader) -> str:
    import SimpleITK

    return str(SimpleITK.GetPixelIDValueAsString(reader.GetPixelID()))


def _bytes_per_number(kind: str, source: str) -> int:
    """Return the size of a stored number, by SimpleITK's name of its type.

    Raises:
        FileFormatError: It is complex, or of another kind.
    """
    words = kind.removeprefix("vector of ")
    sizes = {"8-bit": 1, "16-bit": 2, "32-bit": 4, "64-bit": 8}
    size = next((size for bits, size in sizes.items() if words.startswith(bits)), 0)
    if not size or not words.endswith(("integer", "float")):
        raise FileFormatError(f"{source}: numbers of the kind {kind!r:.40}; integers or real numbers are expected")
    return size
