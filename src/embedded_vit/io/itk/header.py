"""What is checked of an NRRD or MetaImage file before SimpleITK opens it: that it names no other file but its own.

Both formats may name any file on the disk as the one with the voxels. Only a `.mhd` has its voxels elsewhere by design:
in a file of the same folder.
"""

from __future__ import annotations

from pathlib import Path

from embedded_vit.errors import FileFormatError

__all__ = ["check_complete", "file_of_voxels"]

MOST_HEADER_BYTES = 1 << 16
MOST_DIGITS = 18  # of a number of bytes
NRRD_MAGIC = b"NRRD000"
ONE_FILE = "save it again as one file"


def file_of_voxels(path: Path) -> Path:
    """Return the file with the voxels: the given one, or for a `.mhd` the one beside it that its header names.

    Raises:
        FileFormatError: It cannot be read, is of another kind, or names another file.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(MOST_HEADER_BYTES)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    if path.name.lower().endswith(".nrrd"):
        _check_nrrd(start, path)
        return path
    return _file_of_metaimage(start, path)


def _check_nrrd(start: bytes, path: Path) -> None:
    if not start.startswith(NRRD_MAGIC):
        raise FileFormatError(f"{path}: not an NRRD file (wrong magic); save it again, or convert it to .nii.gz")
    header = start.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    for line in header.splitlines():
        if line.partition(b":")[0].strip().lower().replace(b" ", b"") == b"datafile":
            raise FileFormatError(f"{path}: its voxels lie in another file; {ONE_FILE}")


def _file_of_metaimage(start: bytes, path: Path) -> Path:
    for line in start.splitlines():
        key, _, value = line.partition(b"=")
        if key.strip() != b"ElementDataFile":
            continue
        name = value.strip().decode("utf-8", errors="replace")
        if name == "LOCAL":
            return path
        apart = path.name.lower().endswith(".mhd")
        if not apart or Path(name).name != name or "%" in name or name == "LIST" or not (path.parent / name).is_file():
            where = "is not beside it" if apart else "is another file"
            raise FileFormatError(f"{path}: the file that its header names for the voxels {where}; {ONE_FILE} (.mha)")
        return path.parent / name
    raise FileFormatError(f"{path}: not a MetaImage file (no ElementDataFile); save it again, or convert it to .nii.gz")


def check_complete(path: Path, voxels: Path, voxel_bytes: int) -> None:
    """Refuse a MetaImage file that ends early, about which SimpleITK would print lines of its own.

    Args:
        path: The file with the header.
        voxels: As `file_of_voxels` returned it.
        voxel_bytes: What the voxels take where they are not compressed.

    Raises:
        FileFormatError: It is shorter than its header says.
    """
    with open(path, "rb") as file:
        header, mark, rest = file.read(MOST_HEADER_BYTES).partition(b"ElementDataFile")
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(b"=") for line in header.splitlines())}
    compressed = fields.get(b"CompressedData", b"").lower() == b"true"
    size = fields.get(b"CompressedDataSize", b"") if compressed else str(voxel_bytes).encode()
    before = len(header) + len(mark) + rest.find(b"\n") + 1 if voxels == path else 0
    if size.isdigit() and voxels.stat().st_size - before < int(size[:MOST_DIGITS]):
        raise FileFormatError(f"{path}: truncated or damaged; copy the file again")
