"""NRRD and MetaImage: the same scan in the world as its NIfTI, whatever the axis order; hostile headers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from embedded_vit.errors import FileFormatError
from embedded_vit.io.nifti import write_labels, write_volume
from embedded_vit.io.scan_source import open_scan, read_mask, scan_stem
from embedded_vit.volume import LabelMap, Volume

sitk = pytest.importorskip("SimpleITK")

ARRAY = np.random.default_rng(0).integers(-1000, 1000, (1, 5, 6, 7)).astype(np.int16)
MASK = np.random.default_rng(1).integers(0, 4, (5, 6, 7)).astype(np.uint8)
TURNED = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURNED @ np.diag([-0.7, -0.8, 3.0])
AFFINE[:3, 3] = (12, -30, 55)


def saved(path: Path, image: sitk.Image, *, compress: bool = True) -> Path:
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


def turned(image: sitk.Image, orientation: str) -> sitk.Image:
    return sitk.DICOMOrient(image, orientation)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR", "SAL"])
def test_a_scan_lies_where_its_nifti_lies(tmp_path: Path, suffix: str, orientation: str) -> None:
    write_volume(tmp_path / "scan.nii.gz", Volume(ARRAY, AFFINE))
    write_labels(tmp_path / "mask.nii.gz", LabelMap(MASK, AFFINE))
    nifti, nifti_mask = open_scan(tmp_path / "scan.nii.gz").read().reoriented(), read_mask(tmp_path / "mask.nii.gz")
    image, mask = (sitk.ReadImage(str(tmp_path / name)) for name in ("scan.nii.gz", "mask.nii.gz"))
    with open_scan(saved(tmp_path / f"scan{suffix}", turned(image, orientation))) as source:
        assert (source.format, source.channels) == ("ITK", 1)
        volume = source.read().reoriented()
        assert len(source.sha256()) == 64
    np.testing.assert_array_equal(volume.array, nifti.array)
    np.testing.assert_allclose(volume.affine, nifti.affine, atol=1e-4)
    labels = read_mask(saved(tmp_path / f"mask{suffix}", turned(mask, orientation))).reoriented()
    np.testing.assert_array_equal(labels.array, nifti_mask.reoriented().array)
    np.testing.assert_allclose(labels.affine, nifti.affine, atol=1e-4)


def test_channels_and_flat_images(tmp_path: Path) -> None:
    vectors = sitk.GetImageFromArray(np.arange(48, dtype=np.float32).reshape(3, 4, 2, 2), isVector=True)
    volume = open_scan(saved(tmp_path / "a.nrrd", vectors), channels=2).read()
    assert volume.array.shape == (2, 2, 4, 3)
    np.testing.assert_array_equal(volume.array[:, 0, 0, 0], [0, 1])
    with pytest.raises(FileFormatError, match="2 channels, where 1 are expected"):
        open_scan(tmp_path / "a.nrrd", channels=1)
    with pytest.raises(FileFormatError, match="2 layers, as 3D Slicer saves"):
        read_mask(tmp_path / "a.nrrd")
    flat = open_scan(saved(tmp_path / "flat.mha", sitk.GetImageFromArray(np.zeros((3, 4), np.uint8))))
    assert flat.shape == (4, 3, 1)
    assert "one slice" in flat.remarks[0]


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
def test_a_file_that_ends_early_is_one_line_and_simpleitk_prints_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, compress: bool
) -> None:
    path = saved(tmp_path / f"a{suffix}", sitk.GetImageFromArray(ARRAY[0]), compress=compress)
    assert open_scan(path).read().array.shape == (1, 7, 6, 5)
    voxels = next((file for file in tmp_path.iterdir() if file != path), path)  # beside a .mhd
    voxels.write_bytes(voxels.read_bytes()[:-20])
    with pytest.raises(FileFormatError, match="truncated or damaged"):
        open_scan(path).read()
    assert capfd.readouterr() == ("", "")


def test_names_of_masks_of_3d_slicer(tmp_path: Path) -> None:
    path = saved(tmp_path / "case.seg.nrrd", sitk.GetImageFromArray(MASK))
    assert scan_stem(path) == "case"
    np.testing.assert_array_equal(read_mask(path).array, MASK.transpose(2, 1, 0))


def test_without_the_extra_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.mha", sitk.GetImageFromArray(MASK))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(FileFormatError, match=r"pip install 'embedded-vit\[itk\]'") as caught:
        open_scan(path)
    assert "\n" not in str(caught.value)


HEADER = "ObjectType = Image\nNDims = 3\nDimSize = {size}\nElementType = MET_UCHAR\nElementDataFile = {file}\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mhd", HEADER.format(size="2 2 2", file="../secret.raw"), "is not beside it"),
        ("a.mhd", HEADER.format(size="2 2 2", file="/etc/passwd"), "is not beside it"),
        ("a.mhd", HEADER.format(size="2 2 2", file="LIST"), "is not beside it"),
        ("a.mha", HEADER.format(size="2 2 2", file="a.mhd"), "is another file"),
        ("a.mha", "no header", "no ElementDataFile"),
        ("a.mha", HEADER.format(size="9000 9000 9000", file="LOCAL"), "at most|truncated"),
        ("a.mha", HEADER.format(size="0 2 2", file="LOCAL"), "damaged|empty"),
        ("a.nrrd", "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\ndata file: /etc/passwd\n\n", "in another file"),
        ("a.nrrd", "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n\nab", "truncated or damaged"),
        ("a.nrrd", "?", "not an NRRD file"),
    ],
)
def test_hostile_files_are_one_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        open_scan(tmp_path / name).read()
    assert "\n" not in str(caught.value)
