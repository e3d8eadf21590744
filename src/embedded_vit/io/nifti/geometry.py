"""The geometry of a NIfTI file: shape, affine, and the header fields that a mask on the same grid must repeat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import BinaryIO

import nibabel.quaternions as quaternions
import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from embedded_vit.errors import FileFormatError
from embedded_vit.grids import GRID_TOLERANCE, voxels_apart
from embedded_vit.io.nifti.pair import is_pair
from embedded_vit.volume import check_affine

__all__ = ["NiftiGeometry", "read_header"]

# Everything that says where a voxel lies, and nothing else: no description, no names, no dates.
GEOMETRY_FIELDS = ("dim", "pixdim", "xyzt_units", "dim_info", "qform_code", "sform_code",
                   "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
                   "srow_x", "srow_y", "srow_z")  # fmt: skip
# Of a quaternion stored in float32, or rounded to four digits by a tool, beyond 1.
LONGEST_EXCESS = 1e-3
FLAT = "a 2-D image, taken as one slice {:g} mm thick: volumes are only as right as that"
QUATERNION_ROUNDING = 1e-3  # of its square; a rotation by half a turn is then off by 1 in 1000 at most
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown (taken as mm), metre, millimetre, micrometre


@dataclass(frozen=True, eq=False)
class NiftiGeometry:
    """Where the voxels of a NIfTI file lie.

    Attributes:
        header: NIfTI-1 or NIfTI-2, only the geometry fields filled, exactly as the file stores them.
        affine: (4, 4) float64, array index -> RAS+ mm.
        source: File, for messages.
        remarks: What is odd about the header and was decided, a sentence each.
    """

    header: Nifti1Header
    affine: NDArray[np.float64]
    source: str = "geometry"
    remarks: tuple[str, ...] = ()

    @classmethod
    def of_header(cls, header: Nifti1Header, source: str) -> NiftiGeometry:
        """Take the geometry out of a file's header.

        Raises:
            FileFormatError: A spacing is zero or negative, or the affine is not finite or is singular.
        """
        flat = int(header["dim"][0]) == 2  # one slice, whose thickness is often left out
        thickness = float(header["pixdim"][3])
        spacing = header["pixdim"][1:4].astype(float)
        if flat and not (math.isfinite(thickness) and thickness > 0):
            spacing[2] = 1.0
        if not (np.isfinite(spacing) & (spacing > 0)).all():
            numbers = ", ".join(f"{length:g}" for length in spacing)
            raise FileFormatError(
                f"{source}: the voxel spacing is {numbers}, all must be above zero; repair the header"
            )
        kept = type(header)()
        for field in GEOMETRY_FIELDS:
            kept[field] = header[field]
        kept["pixdim"][1:4] = spacing
        _shorten_quaternion(kept)
        remarks = [FLAT.format(spacing[2])] if flat else []
        mm_per_unit = np.array([[MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)]] * 3 + [[1.0]])
        affine = mm_per_unit * _affine(kept, source)
        if flat and not affine[:3, 2].any():
            normal = np.cross(affine[:3, 0], affine[:3, 1])
            affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0) * spacing[2]
        check_affine(affine, source, shape_of(header))
        if disagreement := _disagreement(kept, affine / mm_per_unit):
            remarks.append(disagreement)
        return cls(kept, affine, source, tuple(remarks))

    @classmethod
    def from_affine(
        cls, shape: tuple[int, ...], affine: NDArray[np.float64], source: str = "geometry"
    ) -> NiftiGeometry:
        """Make the geometry of a new NIfTI-1 file in scanner coordinates.

        Args:
            shape: Length of the three array axes, and the number of channels where there are several.
            affine: (4, 4), array index -> RAS+ mm.
            source: For messages.
        """
        header = Nifti1Header()
        header.set_data_shape(shape)
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1)  # which keeps the nearest rotation
        if voxels_apart(affine, header.get_qform(), _three(shape)) > GRID_TOLERANCE:  # as of a tilted gantry
            header["qform_code"] = 0
        header.set_xyzt_units("mm")
        return cls.of_header(header, source)

    @property
    def shape(self) -> tuple[int, ...]:
        """The file's own shape, trailing axes of length one included."""
        return shape_of(self.header)

    @property
    def orientation_known(self) -> bool:
        """Whether the header says where the patient's left is; without both codes it is nibabel's guess (LAS)."""
        return int(self.header["qform_code"]) > 0 or int(self.header["sform_code"]) > 0


def _affine(header: Nifti1Header, source: str) -> NDArray[np.float64]:
    """Return the affine that a header states: its sform, else its qform, else the spacing alone.

    Raises:
        FileFormatError: The rotation is not one.
    """
    if not int(header["sform_code"]) and int(header["qform_code"]):
        return _qform(header, source)
    return np.array(header.get_best_affine(), np.float64)


def _qform(header: Nifti1Header, source: str) -> NDArray[np.float64]:
    """Return the affine of the qform; a quaternion that is a little too long is shortened, as ITK does."""
    parts = np.array([float(header[f"quatern_{part}"]) for part in "bcd"])
    length = float(np.linalg.norm(parts))
    if not length <= 1 + LONGEST_EXCESS:  # NaN too
        raise FileFormatError(f"{source}: the rotation in the header (qform) is not one; repair the header")
    rotation = quaternions.quat2mat((np.sqrt(max(0.0, 1 - length**2)), *parts / max(1.0, length)))
    spacing = header["pixdim"][1:4].astype(np.float64)
    handedness = -1.0 if float(header["pixdim"][0]) < 0 else 1.0  # qfac
    affine = np.eye(4)
    affine[:3, :3] = rotation * [spacing[0], spacing[1], spacing[2] * handedness]
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine


def _disagreement(header: Nifti1Header, taken: NDArray[np.float64]) -> str | None:
    """Say that qform and sform put voxels at different places; None where they do not, or one is not set."""
    if not int(header["sform_code"]) or not int(header["qform_code"]):
        return None
    try:
        apart = voxels_apart(taken, _qform(header, ""), _three(shape_of(header)))
    except (FileFormatError, np.linalg.LinAlgError):
        return "the qform of the header is not a rotation: the sform was taken"
    if apart <= 1:
        return None
    return (
        f"qform and sform of the header put voxels up to {apart:.3g} voxels apart: the sform was taken; other programs "
        "may take the qform, so check the sides"
    )


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    first, second, third = (*shape, 1, 1)[:3]
    return first, second, third


def _shorten_quaternion(header: Nifti1Header) -> None:
    """Bring a quaternion that is longer than 1 by rounding, as some programs leave it, to that length."""
    fields = ("quatern_b", "quatern_c", "quatern_d")
    square = sum(float(header[field]) ** 2 for field in fields)
    if 1 < square <= 1 + QUATERNION_ROUNDING:
        for field in fields:
            header[field] = float(header[field]) / square**0.5


def shape_of(header: Nifti1Header) -> tuple[int, ...]:
    """Return the array shape that a header announces."""
    axes = int(header["dim"][0])
    return tuple(int(length) for length in header["dim"][1 : axes + 1])


def read_header(file: BinaryIO, source: str) -> Nifti1Header:
    """Read a NIfTI-1 or NIfTI-2 header of either endianness from the start of a stream.

    Raises:
        FileFormatError: The stream is too short or is not a single-file NIfTI.
    """
    start = file.read(Nifti1Header.sizeof_hdr)
    if len(start) < Nifti1Header.sizeof_hdr:
        raise FileFormatError(f"{source}: truncated: {len(start)} bytes, less than a NIfTI header; copy the file again")
    for endianness, order in (("<", "little"), (">", "big")):
        announced = int.from_bytes(start[:4], order)  # type: ignore[arg-type]
        for kind in (Nifti1Header, Nifti2Header):
            if announced == kind.sizeof_hdr:
                start += file.read(kind.sizeof_hdr - len(start))
                if len(start) < kind.sizeof_hdr:
                    raise FileFormatError(f"{source}: truncated within the NIfTI header; copy the file again")
                return _checked(kind(start, endianness, check=False), source)
    raise FileFormatError(f"{source}: not a NIfTI file (its first number is not a header size); give a .nii or .nii.gz")


def _checked(header: Nifti1Header, source: str) -> Nifti1Header:
    magic = header["magic"].tobytes()
    if not magic.startswith(header.pair_magic if is_pair(source) else header.single_magic):
        if is_pair(source) and not magic.strip(b"\0"):
            raise FileFormatError(
                f"{source}: an Analyze file, which does not say where the patient's left is; convert it to .nii.gz"
            )
        kind = "a NIfTI pair" if is_pair(source) else "a single-file NIfTI"
        raise FileFormatError(f"{source}: not {kind} (wrong magic); convert it to .nii or .nii.gz")
    if not 1 <= int(header["dim"][0]) <= 7:
        raise FileFormatError(f"{source}: the header announces {int(header['dim'][0])} axes; the file is damaged")
    return header
