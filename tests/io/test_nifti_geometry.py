"""Where a header puts voxels when it contradicts itself, and what a header that we write says."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from embedded_vit.errors import FileFormatError
from embedded_vit.io import open_scan
from embedded_vit.io.nifti import NiftiGeometry
from embedded_vit.io.nifti.geometry import LONGEST_EXCESS

AFFINE = np.array([[-0.7, 0, 0, 90], [0, -0.8, 0, 120], [0, 0, 5, -300], [0, 0, 0, 1]], np.float64)
TURNED = AFFINE[[1, 0, 2, 3]]
SHAPE = (8, 9, 10)


def flipped(axis: int) -> np.ndarray:
    affine = AFFINE.copy()
    affine[axis] *= -1
    return affine


def write(path: Path, sform: np.ndarray, qform: np.ndarray, sform_code: int = 1, qform_code: int = 1) -> Path:
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE)
    image.set_sform(sform, sform_code)
    image.set_qform(qform, qform_code)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    ("sform", "qform"), [(flipped(0), AFFINE), (AFFINE, flipped(0)), (flipped(2), AFFINE), (AFFINE, TURNED)]
)
def test_qform_and_sform_that_disagree_are_told_and_the_sform_is_taken(
    tmp_path: Path, sform: np.ndarray, qform: np.ndarray
) -> None:
    with open_scan(write(tmp_path / "scan.nii.gz", sform, qform)) as source:
        np.testing.assert_allclose(source.affine, sform, atol=1e-5)
        (said,) = source.remarks
    assert said.startswith("qform and sform of the header put voxels up to ")
    assert "the sform was taken" in said


def test_what_agrees_or_is_not_set_is_not_told(tmp_path: Path) -> None:
    nearly = AFFINE + np.array([[0, 0, 0, 0.5], [0] * 4, [0] * 4, [0] * 4])  # less than a voxel
    for number, arguments in enumerate(
        [(AFFINE, AFFINE), (nearly, AFFINE), (AFFINE, flipped(0), 1, 0), (flipped(0), AFFINE, 0, 1)]
    ):
        with open_scan(write(tmp_path / f"{number}.nii", *arguments)) as source:
            assert source.remarks == ()
            np.testing.assert_allclose(source.affine, AFFINE, atol=0.51)


@pytest.mark.parametrize("degrees", [0, 0.5, 5, 15, 25])
def test_a_qform_is_written_where_it_can_say_the_same(degrees: float) -> None:
    """A tilted gantry shears the volume, and a quaternion holds no shear: ITK would read another place out of it."""
    affine = AFFINE.copy()
    affine[1, 2] = 5 * np.tan(np.radians(degrees))
    header = NiftiGeometry.from_affine((64, 64, 30), affine).header
    assert int(header["sform_code"]) == 1
    np.testing.assert_allclose(header.get_sform(), affine, atol=1e-5)
    assert int(header["qform_code"]) == int(degrees == 0)


@pytest.mark.parametrize("excess", [-1e-3, 1e-7, 4e-7, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("part", ["b", "c", "d"])
def test_a_quaternion_too_long_by_rounding_is_shortened(tmp_path: Path, excess: float, part: str) -> None:
    turned = {"b": [1, -1, -1, 1], "c": [-1, 1, -1, 1], "d": [-1, -1, 1, 1]}[part] * np.array([0.7, 0.8, 5, 1])
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), None)
    image.set_qform(np.diag(turned), 1)
    path = tmp_path / "scan.nii"
    image.to_filename(path)
    content = bytearray(path.read_bytes())
    content[256 + 4 * "bcd".index(part) : 260 + 4 * "bcd".index(part)] = np.float32(np.sqrt(1 + excess)).tobytes()
    path.write_bytes(content)
    with open_scan(path) as source:
        np.testing.assert_allclose(source.affine, np.diag(turned), atol=0.4 if excess < 0 else 1e-3)


def test_a_quaternion_that_is_far_too_long_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), None)
    image.set_qform(AFFINE, 1)
    path = tmp_path / "scan.nii"
    image.to_filename(path)
    content = bytearray(path.read_bytes())
    content[264:268] = np.float32(1 + 2 * LONGEST_EXCESS).tobytes()
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"the rotation in the header .qform. is not one"):
        open_scan(path)


def test_any_rotation_is_that_of_nibabel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        quaternion = rng.normal(size=4)
        affine = np.eye(4)
        affine[:3, :3] = nibabel.quaternions.quat2mat(quaternion / np.linalg.norm(quaternion)) * [0.7, 0.8, 3]
        affine[:3, :3] *= [1, 1, rng.choice([-1, 1])]
        affine[:3, 3] = rng.normal(size=3) * 100
        path = write(tmp_path / f"{number}.nii", affine, affine, sform_code=0)
        with open_scan(path) as source:
            np.testing.assert_allclose(source.affine, nibabel.load(path).affine, atol=1e-4)
