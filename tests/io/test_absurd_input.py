"""Headers that announce what no scanner makes are refused before memory is asked for; the unusual is read."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from dicom_fixtures import write_series
from pydicom.uid import JPEG2000Lossless

from embedded_vit.errors import FileFormatError
from embedded_vit.io import open_scan, read_labels, write_labels
from embedded_vit.io.transunet import read_slice
from embedded_vit.preprocessing import Grid, Intensities, Preprocessing
from embedded_vit.volume import UPRIGHT_AFFINE, LabelMap, Volume, check_affine

MOST_BYTES = 64 * 2**20  # that a refusal may allocate; what is announced is 10 to 1000 times as much


def refused(act: Callable[[], object], message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=message) as caught:
            act()
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def nifti(path: Path, shape: tuple[int, ...] = (8, 9, 10), affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("spacing", [(1e-5, 1, 1), (1, 1, 300), (800, 800, 800), (1e30, 1e30, 1e30), (1, 1e-20, 1)])
def test_spacings_that_no_scanner_has_are_refused(tmp_path: Path, spacing: tuple[float, ...]) -> None:
    refused(
        lambda: open_scan(nifti(tmp_path / "scan.nii", affine=np.diag([*spacing, 1.0]))), "no scanner|singular|above"
    )
    volume = np.zeros((3, 9, 8), np.int16)
    write_series(tmp_path / "series", volume, PixelSpacing=[spacing[1], spacing[0]], step=(0, 0, spacing[2]))
    refused(lambda: open_scan(tmp_path / "series"), "no scanner|singular|finite|damaged")


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [((0.4, 0.4, 10), (512, 512, 30)), ((4, 4, 4), (128, 128, 512)), ((0.005, 0.005, 0.005), (900, 900, 500)),
     ((0.1, 0.1, 20), (512, 512, 5)), ((3, 3, 3), (200, 200, 660))],
)  # fmt: skip
def test_what_scanners_make_passes(spacing: tuple[float, ...], shape: tuple[int, ...]) -> None:
    """A thick slice of a fine detector, PET, a micro-CT, a single thick slab, a whole body."""
    check_affine(np.diag([*spacing, 1.0]), "scan", shape)


def test_a_place_far_away_is_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 3] = 1e9
    refused(lambda: open_scan(nifti(tmp_path / "scan.nii", affine=affine)), "mm away")


def test_a_field_of_view_of_too_many_pixels_is_refused() -> None:
    refused(lambda: Grid.between((4000, 4000), 224, spacing_mm=(0.02, 4.0)), "more than 8,192 pixels")
    refused(lambda: Grid.between((9000, 9000), 224, interpolation="cubic"), "more than 8,192 pixels")


def test_an_uncompressed_file_is_measured_before_it_is_read(tmp_path: Path) -> None:
    path = nifti(tmp_path / "scan.nii")
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([1000, 1000, 900], "<i2").tobytes()
    path.write_bytes(content)
    refused(lambda: open_scan(path), "truncated: .* cannot hold the 1,800,000,000 bytes")


def test_an_hdf5_array_that_was_never_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "case.npy.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("image", (512, 512, 512), np.float32, chunks=(1, 512, 512), compression="gzip")
    refused(lambda: open_scan(path), "truncated")


def test_a_member_of_an_npz_cannot_grow_past_what_it_may(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": (30000, 30000)})
    with zipfile.ZipFile(tmp_path / "slice.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("image.npy", "label.npy"):
            archive.writestr(name, content.getvalue())
    refused(lambda: read_slice(tmp_path / "slice.npz"), "truncated")


def test_a_compressed_slice_cannot_announce_what_it_cannot_hold(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, np.zeros((1, 32, 32), np.uint16), syntax=JPEG2000Lossless)
    content = path.read_bytes()
    old = bytes([0x28, 0, 0x10, 0]) + b"US\x02\x00" + (32).to_bytes(2, "little")
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, old[:-2] + (4000).to_bytes(2, "little")).replace(
        bytes([0x28, 0, 0x11, 0]) + b"US\x02\x00" + (32).to_bytes(2, "little"),
        bytes([0x28, 0, 0x11, 0]) + b"US\x02\x00" + (4000).to_bytes(2, "little")))  # fmt: skip
    refused(lambda: open_scan(tmp_path), "truncated")


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("thickness", [0.0, 4.0])
def test_a_2d_file_is_one_slice(tmp_path: Path, name: str, thickness: float) -> None:
    image = nibabel.Nifti1Image(np.arange(72, dtype=np.int16).reshape(8, 9), np.diag([0.7, 0.8, thickness or 1.0, 1]))
    path = tmp_path / name
    nibabel.save(image, path)
    source = open_scan(path)
    assert source.shape == (8, 9, 1)
    assert source.remarks[0].startswith("a 2-D image, taken as one slice")
    volume = source.read()
    np.testing.assert_array_equal(volume.array[0, :, :, 0], np.arange(72).reshape(8, 9))
    write_labels(tmp_path / "mask.nii.gz", LabelMap(np.ones((8, 9, 1), np.uint8), volume.affine), source.geometry)
    assert nibabel.load(tmp_path / "mask.nii.gz").shape == (8, 9)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.nii.gz").array, 1)


def test_a_plain_file_that_is_named_as_compressed_says_what_it_is(tmp_path: Path) -> None:
    path = nifti(tmp_path / "scan.nii").rename(tmp_path / "scan.nii.gz")
    refused(lambda: open_scan(path), "a NIfTI file that is not compressed; rename it to end in .nii")


def test_more_than_a_gibivoxel_is_opened(tmp_path: Path) -> None:
    """A sparse file: nothing of it is read, and the disk holds none of its zeros."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1100, 1000, 1000))
    header.set_sform(np.diag([0.3, 0.3, 0.3, 1]), 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = tmp_path / "scan.nii"
    with open(path, "wb") as file:
        file.write(header.binaryblock)
        file.truncate(352 + 1100 * 1000 * 1000)
    with open_scan(path) as source:
        assert source.shape == (1100, 1000, 1000)


@pytest.mark.parametrize("slope", [1.0, -1.0, 1e-13, -1e-13, 1e6])
@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_an_mr_looks_the_same_in_any_unit(slope: float, kind: type) -> None:
    """Stored numbers with a negative slope, or a diffusivity in square metres a second."""
    array = np.random.default_rng(0).integers(0, 1000, (1, 4, 16, 16)).astype(kind)
    array[:, :, :4] = 0
    preprocessing = Preprocessing.for_modality("MR", image_size=16)

    def normalised(stored: np.ndarray, slope: float) -> np.ndarray:
        volume = Volume(stored, UPRIGHT_AFFINE, slope)
        return Intensities.of(volume, preprocessing).normalise(volume.intensities(1))

    stored = -array if slope < 0 else array
    np.testing.assert_allclose(normalised(stored, slope), normalised(array, 1.0), atol=1e-5)
    tiny = (array * np.float32(1e-12)).astype(np.float32)
    np.testing.assert_allclose(normalised(tiny, 1.0), normalised(array, 1.0), atol=1e-5)
