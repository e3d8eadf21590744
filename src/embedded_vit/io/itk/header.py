"""What is checked of an NRRD or MetaImage file before SimpleITK opens it: that it names no other file but its own.

Both formats may name any file on the disk as the one with the voxels. Only a `.mhd` has its voxels elsewhere by design:
in a file of the same folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from embedded_vit.errors import FileFormatError

__all__ = ["VoxelFile"]

MOST_HEADER_BYTES = 1 << 16
MOST_DIGITS = 18  # of a number of bytes
NRRD_MAGIC = b"NRRD000"
ONE_FILE = "save it again as one file"


@dataclass(frozen=True)
class VoxelFile:
    """The file with the voxels of a scan.

    Attributes:
        path: The scan itself, or for a `.mhd` the file beside it that its header names.
        header_bytes: Bytes in front of the voxels.
        compressed: Whether a MetaImage's voxels are compressed.
        compressed_bytes: What they then take, where its header says it.
    """

    path: Path
    header_bytes: int = 0
    compressed: bool = False
    compressed_bytes: int | None = None

    @classmethod
    def of(cls, scan: Path) -> Self:
        """Read the header of a scan.

        Raises:
            FileFormatError: It cannot be read, is of another kind, or names another file.
        """
        try:
            with open(scan, "rb") as file:
                start = file.read(MOST_HEADER_BYTES)
        except OSError as error:
            raise FileFormatError(f"{scan}: cannot be read: {error.strerror or error}") from error
        if scan.name.lower().endswith(".nrrd"):
            _check_nrrd(start, scan)
            return cls(scan)
        return cls._of_metaimage(start, scan)

    @classmethod
    def _of_metaimage(cls, start: bytes, scan: Path) -> Self:
        fields, header_bytes = _metaimage_fields(start)
        if b"ElementDataFile" not in fields:
            raise FileFormatError(
                f"{scan}: not a MetaImage file (no ElementDataFile); save it again, or convert it to .nii.gz"
            )
        compressed = fields.get(b"CompressedData", b"").lower() == b"true"
        digits = fields.get(b"CompressedDataSize", b"")
        compressed_bytes = int(digits[:MOST_DIGITS]) if digits.isdigit() else None
        name = fields[b"ElementDataFile"].decode("utf-8", errors="replace")
        if name == "LOCAL":
            return cls(scan, header_bytes, compressed, compressed_bytes)
        apart = scan.name.lower().endswith(".mhd")
        if not apart or Path(name).name != name or "%" in name or name == "LIST" or not (scan.parent / name).is_file():
            where = "is not beside it" if apart else "is another file"
            raise FileFormatError(f"{scan}: the file that its header names for the voxels {where}; {ONE_FILE} (.mha)")
        return cls(scan.parent / name, 0, compressed, compressed_bytes)

    def is_shorter_than(self, voxel_bytes: int) -> bool:
        """Return whether a MetaImage file ends early, about which SimpleITK would print lines of its own.

        Args:
            voxel_bytes: What the voxels take where they are not compressed.
        """
        expected = self.compressed_bytes if self.compressed else voxel_bytes
        return expected is not None and self.path.stat().st_size - self.header_bytes < expected


def _check_nrrd(start: bytes, scan: Path) -> None:
    if not start.startswith(NRRD_MAGIC):
        raise FileFormatError(f"{scan}: not an NRRD file (wrong magic); save it again, or convert it to .nii.gz")
    header = start.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    for line in header.splitlines():
        if line.partition(b":")[0].strip().lower().replace(b" ", b"") == b"datafile":
            raise FileFormatError(f"{scan}: its voxels lie in another file; {ONE_FILE}")


def _metaimage_fields(start: bytes) -> tuple[dict[bytes, bytes], int]:
    """Return the values of a header by key, of which ElementDataFile is the last one, and the header's bytes."""
    fields: dict[bytes, bytes] = {}
    header_bytes = 0
    for line in start.splitlines(keepends=True):
        key, _, value = line.partition(b"=")
        fields[key.strip()] = value.strip()
        header_bytes += len(line)
        if key.strip() == b"ElementDataFile":
            break
    return fields, header_bytes
