"""A scan on the disk is, slice by slice, the scan in memory: same numbers, same refusals, same mask."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import nibabel.orientations as orientations
import numpy as np
import pytest

from embedded_vit.errors import FileFormatError
from embedded_vit.io.nifti import read_volume, stream, write_labels
from embedded_vit.io.scan_source import open_scan
from embedded_vit.io.spool import SpooledVolume

ORIENTATIONS = ["".join(code) for order in permutations(("LR", "PA", "IS")) for code in product(*order)]
SHAPE = (9, 8, 7)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three planes of int16 a block, so that a small scan takes several, and the last of them is shorter."""
    monkeypatch.setattr(stream, "BLOCK_BYTES", 3 * 9 * 8 * 2)
    monkeypatch.setattr("embedded_vit.io.spool.spooled_volume.BLOCK_BYTES", 3 * 9 * 8)


def save(path: Path, array: np.ndarray, codes: str = "RAS", **fields: Any) -> Path:
    """A NIfTI file whose axes run to `codes`; `fields` of its header are overwritten."""
    oriented = orientations.inv_ornt_aff(orientations.axcodes2ornt(tuple(codes)), array.shape[:3])
    affine = np.diag([0.7, 0.8, 2.5, 1]) @ oriented
    header = nibabel.Nifti1Header(endianness=fields.pop("endianness", "<"))
    header.set_data_dtype(array.dtype)
    nibabel.Nifti1Image(array, affine, header).to_filename(path)
    if fields:
        content = bytearray(path.read_bytes())
        stored = nibabel.Nifti1Header(bytes(content[:348]), check=False)
        for name, value in fields.items():
            stored[name] = value
        path.write_bytes(stored.binaryblock + content[348:])
    return path


def spool_volume(path: Path, *, channels: int = 1, folder: Path | None = None) -> SpooledVolume:
    scan = open_scan(path, channels=channels).spool(folder)
    assert isinstance(scan, SpooledVolume)
    return scan


def numbers(dtype: str = "int16", shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, shape).astype(dtype)


def scans() -> Iterator[Any]:
    yield pytest.param("scan.nii.gz", numbers(), {}, id="compressed")
    yield pytest.param("scan.nii", numbers(), {"scl_slope": 2.5, "scl_inter": -1024}, id="scaled")
    yield pytest.param("scan.nii", numbers(">i2"), {"endianness": ">"}, id="big-endian")
    yield pytest.param("scan.nii.gz", numbers("float64") / 3, {}, id="float64")
    yield pytest.param("scan.nii.gz", numbers("float32", (*SHAPE, 4)), {}, id="four-channels")


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SLP", "ARI", "PIR", "LSA"])
@pytest.mark.parametrize(("name", "array", "fields"), scans())
def test_slices_are_those_of_the_scan_in_memory(
    tmp_path: Path, name: str, array: np.ndarray, fields: dict, codes: str
) -> None:
    path, channels = save(tmp_path / name, array, codes, **fields), 4 if array.ndim == 4 else 1
    in_memory = read_volume(path, channels=channels)
    on_disk = spool_volume(path, channels=channels, folder=tmp_path)
    assert on_disk.shape == in_memory.shape
    assert on_disk.channels == channels
    in_memory, on_disk = in_memory.reoriented(), on_disk.reoriented()
    assert on_disk.shape == in_memory.shape
    np.testing.assert_array_equal(on_disk.affine, in_memory.affine)
    for index in range(in_memory.shape[0]):
        expected, found = in_memory.intensities(index), on_disk.intensities(index)
        np.testing.assert_array_equal(found, expected)
        # Axes in the same order in memory: only then do matrix products round alike.
        assert np.argsort(found.strides, kind="stable").tolist() == np.argsort(expected.strides, kind="stable").tolist()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_mask_on_the_disk_becomes_the_file_of_one_in_memory(tmp_path: Path, codes: str) -> None:
    path = save(tmp_path / "scan.nii", numbers(), codes)
    in_memory, on_disk = read_volume(path).empty_mask(), spool_volume(path, folder=tmp_path).empty_mask()
    assert not on_disk.array.any()
    labels = np.random.default_rng(1).integers(0, 9, in_memory.reoriented().shape).astype(np.uint8)
    for mask in (in_memory, on_disk):
        upright = mask.reoriented()
        for index, plane in enumerate(labels):
            upright.put(index, plane)
        np.testing.assert_array_equal(upright.array, labels)
    np.testing.assert_array_equal(on_disk.array, in_memory.array)
    np.testing.assert_array_equal(on_disk.counts(), in_memory.counts())
    write_labels(tmp_path / "a.nii.gz", in_memory, path)
    write_labels(tmp_path / "b.nii.gz", on_disk, path)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_turning_twice_is_turning_once(tmp_path: Path) -> None:
    volume = spool_volume(save(tmp_path / "scan.nii", numbers(), "LSA"), folder=tmp_path)
    for codes in ORIENTATIONS[::5]:
        again = volume.reoriented(codes).reoriented()
        np.testing.assert_allclose(again.affine, volume.reoriented().affine, atol=1e-6)
        np.testing.assert_array_equal(again.stored(2), volume.reoriented().stored(2))


def test_slices_along_another_axis_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="another axis; reorient it"):
        spool_volume(save(tmp_path / "scan.nii", numbers(), "RAS"), folder=tmp_path).stored(0)


def test_an_oblique_scan_is_cut_along_the_axis_nearest_to_the_patients(tmp_path: Path) -> None:
    angle = np.deg2rad(40)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    nibabel.Nifti1Image(numbers(), turn).to_filename(tmp_path / "scan.nii")
    in_memory, on_disk = read_volume(tmp_path / "scan.nii").reoriented(), spool_volume(tmp_path / "scan.nii")
    np.testing.assert_array_equal(on_disk.reoriented().stored(3), in_memory.stored(3))


def test_what_a_scan_takes_is_known_before_it_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii.gz", numbers("float32", (*SHAPE, 4)))
    with open_scan(path, channels=4) as source:
        assert (source.volume_bytes, source.mask_bytes) == (9 * 8 * 7 * 4 * 4, 9 * 8 * 7)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-9], "truncated or damaged"),  # gzip's checksum
        (lambda content: content[: len(content) // 2], "truncated"),
    ],
)
def test_a_damaged_file_is_refused_and_leaves_nothing(tmp_path: Path, damage: Any, message: str) -> None:
    path = save(tmp_path / "scan.nii.gz", numbers())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileFormatError, match=message) as caught:
        spool_volume(path, folder=tmp_path)
    assert "\n" not in str(caught.value)
    assert [left.name for left in tmp_path.iterdir()] == ["scan.nii.gz"]


@pytest.mark.parametrize(
    "lengthen",
    [lambda content: content + b"rubbish", lambda content: gzip.compress(gzip.decompress(content) + b"x")],
    ids=["behind the compressed data", "behind the voxels"],
)
def test_bytes_behind_the_voxels_are_left_out_and_told(tmp_path: Path, lengthen: Any) -> None:
    path = save(tmp_path / "scan.nii.gz", numbers())
    expected = read_volume(path).reoriented().stored(3)
    path.write_bytes(lengthen(path.read_bytes()))
    with open_scan(path) as source:
        np.testing.assert_array_equal(source.spool(tmp_path).reoriented().stored(3), expected)
        assert len(source.remarks) == 1


def test_intensities_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    array = numbers("float32")
    array[8, 7, 6] = np.nan
    with pytest.raises(FileFormatError, match="NaN or infinite"):
        spool_volume(save(tmp_path / "scan.nii.gz", array), folder=tmp_path)
