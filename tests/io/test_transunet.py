"""TransUNet's slices and volumes come back in HU, and damaged or hostile files are refused in one line."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import nibabel.orientations as orientations
import numpy as np
import pytest

from embedded_vit.errors import FileFormatError
from embedded_vit.io.transunet import H5Source, read_h5_labels, read_slice, stack_images, stack_labels, stored_numbers
from embedded_vit.volume import Volume


def read_h5_volume(path: Path) -> Volume:
    return H5Source(path).read()


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((4, 9, 8))


@pytest.fixture
def label() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 9, (4, 9, 8)).astype(np.float32)


def write_h5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, compression="gzip")
    return path


def write_slices(folder: Path, image: np.ndarray, label: np.ndarray) -> list[Path]:
    paths = [folder / f"case0001_slice{index:03d}.npz" for index in range(len(image))]
    for path, plane, mask in zip(paths, image, label, strict=True):
        np.savez_compressed(path, image=plane, label=mask)
    return paths


def test_numbers_from_zero_to_one_are_the_window_of_transunet(tmp_path: Path, image: np.ndarray) -> None:
    volume = read_h5_volume(write_h5(tmp_path / "case.npy.h5", image=image))
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.intensities(2)[0], image[2] * 400 - 125, atol=1e-3)


def test_other_numbers_are_taken_as_hu(tmp_path: Path, image: np.ndarray) -> None:
    hu = (image * 2000 - 1000).astype(np.int16)
    volume = read_h5_volume(write_h5(tmp_path / "case.npy.h5", image=hu))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.intensities(2)[0], hu[2])


def test_stored_numbers_are_read_back_as_the_same_hu(tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-125, 276, (1, 4, 9, 8)).astype(np.int16)
    stored = stored_numbers(Volume(hu, np.eye(4)))
    volume = read_h5_volume(write_h5(tmp_path / "case.npy.h5", image=stored))
    np.testing.assert_allclose(volume.intensities(1), hu[:, 1], atol=1e-3)


def test_axes_run_to_head_left_and_back_and_the_spacing_is_unknown(tmp_path: Path, image: np.ndarray) -> None:
    volume = read_h5_volume(write_h5(tmp_path / "case.npy.h5", image=image))
    assert "".join(orientations.aff2axcodes(volume.affine)) == "SLP"
    assert not volume.spacing_known
    np.testing.assert_array_equal(volume.reoriented().array, volume.array)


def test_a_volume_without_mask_is_read(tmp_path: Path, image: np.ndarray) -> None:
    path = write_h5(tmp_path / "case.npy.h5", image=image)
    assert read_h5_volume(path).shape == (4, 9, 8)
    with pytest.raises(FileFormatError, match=r"no array 'label' .image found"):
        read_h5_labels(path)


def test_slices_are_stacked_in_the_order_given(tmp_path: Path, image: np.ndarray, label: np.ndarray) -> None:
    paths = write_slices(tmp_path, image, label)
    volume, labels = stack_images(paths, "case0001"), stack_labels(paths, "case0001")
    np.testing.assert_allclose(volume.array[0], image, atol=1e-6)
    np.testing.assert_array_equal(labels.array, label)
    plane, mask = read_slice(paths[2])
    np.testing.assert_allclose(plane, image[2], atol=1e-6)
    assert mask.dtype == np.uint8


@pytest.mark.parametrize(("lowest", "highest"), [(-0.12, 1.15), (0, 1.000001), (-1e-7, 1), (-0.4, 1.4)])
def test_what_a_spline_adds_to_zero_and_one_changes_nothing(
    tmp_path: Path, image: np.ndarray, label: np.ndarray, lowest: float, highest: float
) -> None:
    image[0, 0, :2] = lowest, highest
    volume = stack_images(write_slices(tmp_path, image, label), "case0001")
    np.testing.assert_allclose(volume.intensities(2)[0], image[2] * 400 - 125, atol=1e-3)
    path = write_h5(tmp_path / "case.npy.h5", image=image)
    for scan in (H5Source(path).read(), H5Source(path).spool(tmp_path)):
        np.testing.assert_allclose(scan.intensities(0)[0], image[0] * 400 - 125, atol=1e-3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: image[3].__imul__(50),  # a slice of another scale
        lambda image: image[0, 0].__setitem__(0, 300),  # a hot pixel
        lambda image: image.__imul__(3),  # of another range
    ],
    ids=["a slice", "a pixel", "all"],
)
def test_numbers_that_are_neither_are_refused(tmp_path: Path, spoil: Callable[[np.ndarray], object]) -> None:
    image, label = np.random.default_rng(0).random((4, 12, 12)), np.zeros((4, 12, 12))
    spoil(image)
    with pytest.raises(FileFormatError, match=r"numbers go from .* expected 0 to 1 .*; clip or rescale"):
        stack_images(write_slices(tmp_path, image, label), "case0001")
    for read in (H5Source.read, H5Source.spool):
        with pytest.raises(FileFormatError, match=r"numbers go from .* expected 0 to 1"):
            read(H5Source(write_h5(tmp_path / "case.npy.h5", image=image)))


def test_a_slice_of_another_shape_is_refused(tmp_path: Path, image: np.ndarray, label: np.ndarray) -> None:
    paths = write_slices(tmp_path, image, label)
    np.savez_compressed(paths[2], image=image[2, :5], label=label[2, :5])
    with pytest.raises(FileFormatError, match=r"slice002.npz: the slice is .*\(5, 8\)"):
        stack_images(paths, "case0001")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.zeros((3, 3))}, "no array 'label' .image found"),
        ({"picture": np.zeros((3, 3)), "label": np.zeros((3, 3))}, "no array 'image' .picture, label found"),
        ({"image": np.zeros((3, 3)), "label": np.zeros((3, 4))}, "must be equal"),
        ({"image": np.zeros((3, 3, 3)), "label": np.zeros((3, 3, 3))}, "3-D .* where 2-D is expected"),
        ({"image": np.full((3, 3), np.nan), "label": np.zeros((3, 3))}, "NaN or infinite"),
        ({"image": np.full((3, 3), 1e300), "label": np.zeros((3, 3))}, "NaN or infinite"),
        ({"image": np.zeros((3, 3), complex), "label": np.zeros((3, 3))}, "numbers are expected"),
        ({"image": np.zeros((3, 3)), "label": np.full((3, 3), 0.5)}, "0.5 is not an integer"),
        ({"image": np.zeros((3, 3)), "label": np.full((3, 3), -1)}, "-1 is outside 0 to 255"),
        ({"image": np.zeros((0, 3)), "label": np.zeros((0, 3))}, "empty"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "slice.npz", **arrays)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_slice(tmp_path / "slice.npz")
    assert "\n" not in str(caught.value)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "slice.npz", image=np.array([{"a": 1}, None], dtype=object), label=np.zeros(2))
    with pytest.raises(FileFormatError, match="numbers are expected"):
        read_slice(tmp_path / "slice.npz")


def test_a_small_file_that_announces_a_huge_array_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (200_000, 200_000)})
    with zipfile.ZipFile(tmp_path / "slice.npz", "w") as archive:
        archive.writestr("image.npy", header.getvalue())
        archive.writestr("label.npy", header.getvalue())
    with pytest.raises(FileFormatError, match="announces 200000 x 200000"):
        read_slice(tmp_path / "slice.npz")
    with h5py.File(tmp_path / "case.npy.h5", "w") as file:
        file.create_dataset("image", shape=(100_000, 100_000, 100_000), dtype="f4", chunks=True)
    with pytest.raises(FileFormatError, match="announces 100000 x 100000 x 100000"):
        read_h5_volume(tmp_path / "case.npy.h5")


def test_links_out_of_an_h5_file_are_not_followed(tmp_path: Path, image: np.ndarray) -> None:
    write_h5(tmp_path / "other.h5", image=image)
    with h5py.File(tmp_path / "case.npy.h5", "w") as file:
        file["image"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "image")
    with pytest.raises(FileFormatError, match="link to elsewhere"):
        read_h5_volume(tmp_path / "case.npy.h5")


def readings(path: Path, read: Any) -> Any:
    """Return the contents of a damaged file, or None where it is refused."""
    with suppress(FileFormatError):
        return read(path)
    return None


def test_a_truncated_or_flipped_slice_is_refused_or_equal(tmp_path: Path, image: np.ndarray, label: np.ndarray) -> None:
    path = write_slices(tmp_path, image, label)[0]
    content, original = path.read_bytes(), read_slice(path)
    damaged = [content[:kept] for kept in range(0, len(content), 17)]
    for bit in range(0, 8 * len(content), 13):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    refusals = 0
    for version in damaged:
        path.write_bytes(version)
        result = readings(path, read_slice)
        refusals += result is None
        if result is not None:
            np.testing.assert_array_equal(result[0], original[0])
            np.testing.assert_array_equal(result[1], original[1])
    assert refusals > 0.8 * len(damaged)


def test_a_truncated_volume_is_refused(tmp_path: Path, image: np.ndarray, label: np.ndarray) -> None:
    path = write_h5(tmp_path / "case.npy.h5", image=image, label=label)
    content = path.read_bytes()
    for kept in range(0, len(content), 97):
        path.write_bytes(content[:kept])
        assert readings(path, read_h5_volume) is None


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    for read, name in ((read_slice, "a.npz"), (read_h5_volume, "a.npy.h5")):
        with pytest.raises(FileFormatError, match=f"{name}: there is no such file"):
            read(tmp_path / name)
