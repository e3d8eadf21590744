"""NIfTI files come back as they were stored, and what cannot be trusted is refused in one line."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import nibabel.orientations as orientations
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedded_vit.about import RESEARCH_USE_ONLY
from embedded_vit.errors import FileFormatError, OutputError
from embedded_vit.io.nifti import NiftiSource, read_geometry, read_labels, read_volume, write_labels, write_volume
from embedded_vit.volume import LabelMap, Volume

AFFINE = np.array([[-0.7, 0.1, 0, 30], [0.05, -0.8, 0.2, -12], [0, 0.3, 2.5, 7], [0, 0, 0, 1]])
ORIENTATIONS = [
    "".join(code) for pairs in itertools.permutations(["LR", "PA", "IS"]) for code in itertools.product(*pairs)
]


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, **fields: Any) -> Path:
    """Save a NIfTI-1 file; `fields` of its header are overwritten afterwards, as no library would let one do."""
    nib.Nifti1Image(array, affine).to_filename(path)
    if fields:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        header = nib.Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            header[name] = value
        content = header.binaryblock + content[348:]
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def scan() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, (7, 6, 5)).astype(np.int16)


def refused(path: Path, pattern: str, **options: Any) -> None:
    with pytest.raises(FileFormatError, match=pattern) as caught:
        read_volume(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "<i2", ">i2", "int32", "float32", ">f4", "float64"])
def test_voxels_affine_and_dtype_are_those_of_the_file(tmp_path: Path, name: str, kind: type, dtype: str) -> None:
    array = (np.arange(7 * 6 * 5) % 200).reshape(7, 6, 5).astype(dtype)
    endianness = ">" if dtype.startswith(">") else "<"
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(dtype)
    kind(array, AFFINE, header).to_filename(tmp_path / name)
    volume = read_volume(tmp_path / name)
    assert volume.array.shape == (1, 7, 6, 5)
    assert volume.array.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(volume.array[0], array)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)


def test_intensities_follow_slope_and_intercept(tmp_path: Path, scan: np.ndarray) -> None:
    volume = read_volume(save(tmp_path / "scan.nii", scan, scl_slope=2.5, scl_inter=-1024))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array[0], scan)
    np.testing.assert_array_equal(volume.intensities(3)[0], scan[3] * 2.5 - 1024)


def test_trailing_axes_of_one_are_tolerated(tmp_path: Path, scan: np.ndarray) -> None:
    assert read_volume(save(tmp_path / "scan.nii", scan[..., None, None])).array.shape == (1, 7, 6, 5)


def test_four_dimensions_need_the_number_of_channels(tmp_path: Path, scan: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii", np.stack([scan, scan + 1], axis=-1))
    refused(path, r"4-D \(7 x 6 x 5 x 2\) where 3-D is expected")
    refused(path, "2 channels .* where 4 are expected", channels=4)
    volume = read_volume(path, channels=2)
    np.testing.assert_array_equal(volume.array, [scan, scan + 1])


def test_three_dimensions_are_not_two_channels(tmp_path: Path, scan: np.ndarray) -> None:
    refused(save(tmp_path / "scan.nii", scan), "3-D .* where 4-D with 2 channels", channels=2)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_lengths_are_in_mm_whatever_the_unit_of_the_file(
    tmp_path: Path, scan: np.ndarray, unit: int, factor: float
) -> None:
    affine = AFFINE / np.array([[factor]] * 3 + [[1]])
    path = save(tmp_path / "scan.nii", scan, xyzt_units=unit, srow_x=affine[0], srow_y=affine[1], srow_z=affine[2])
    np.testing.assert_allclose(read_volume(path).affine, AFFINE, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kept", [0, 4, 347, 348, 351, 352, 353, 700, -1])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_truncated_file_is_refused(tmp_path: Path, scan: np.ndarray, name: str, kept: int) -> None:
    path = save(tmp_path / name, scan)
    content = path.read_bytes()
    path.write_bytes(content[:kept] if kept < 0 or kept < len(content) else content[:-1])
    refused(path, "truncated|damaged|not a NIfTI")


def test_compressed_files_without_their_checksum_are_refused(tmp_path: Path, scan: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii.gz", scan)
    content = path.read_bytes()
    for kept in range(1, 9):
        path.write_bytes(content[:-kept])
        refused(path, "truncated or damaged")


@pytest.mark.parametrize("rubbish", [b"\x01", b"rubbish", bytes(range(1, 100))])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_bytes_behind_the_voxels_are_ignored_and_told(
    tmp_path: Path, scan: np.ndarray, name: str, rubbish: bytes
) -> None:
    """As nibabel and SimpleITK do; both leave the checksum of gzip unread, which is compared here nevertheless."""
    path = save(tmp_path / name, scan)
    content = path.read_bytes()
    path.write_bytes(content + rubbish)
    source = NiftiSource(path, channels=None)
    np.testing.assert_array_equal(source.read().array[0], read_volume(save(tmp_path / f"other_{name}", scan)).array[0])
    assert len(source.remarks) == 1
    assert "behind the" in source.remarks[0]
    if name.endswith("gz"):
        path.write_bytes(content[:-6] + bytes([content[-6] ^ 1]) + content[-5:] + rubbish)
        refused(path, "damaged")


def test_no_flipped_bit_of_a_compressed_file_changes_a_voxel(tmp_path: Path) -> None:
    """Every single bit: either the file is refused, or the flip was in gzip's free text and nothing differs."""
    path = save(tmp_path / "scan.nii.gz", np.arange(60, dtype=np.int16).reshape(5, 4, 3))
    content = bytearray(path.read_bytes())
    original = read_volume(path)
    survivors = 0
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        try:
            volume = read_volume(path)
        except FileFormatError:
            continue
        survivors += 1
        np.testing.assert_array_equal(volume.array, original.array)
        np.testing.assert_array_equal(volume.affine, original.affine)
    assert survivors < 8 * 30  # gzip's header: time, system, level


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damaged_plain_file_raises_anything_but_our_error(data: st.DataObject, tmp_path_factory: Any) -> None:
    path = save(tmp_path_factory.mktemp("fuzz") / "scan.nii", np.arange(60, dtype=np.int16).reshape(5, 4, 3))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    for read in (read_volume, read_labels, read_geometry):
        with suppress(FileFormatError):
            read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_intensities_that_are_not_finite_are_refused(tmp_path: Path, scan: np.ndarray, value: float) -> None:
    array = scan.astype(np.float32)
    array[6, 5, 4] = value
    refused(save(tmp_path / "scan.nii", array), "NaN or infinite")


def test_numbers_beyond_float32_are_refused_as_infinite(tmp_path: Path) -> None:
    refused(save(tmp_path / "scan.nii", np.full((3, 3, 3), 1e300)), "NaN or infinite")


@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan, np.inf])
def test_a_spacing_that_is_not_above_zero_is_refused(tmp_path: Path, scan: np.ndarray, spacing: float) -> None:
    path = save(tmp_path / "scan.nii", scan, pixdim=[1, 0.7, 0.8, spacing, 1, 1, 1, 1])
    refused(path, "voxel spacing is .* above zero")


def test_a_singular_affine_is_refused(tmp_path: Path, scan: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii", scan, srow_x=[1, 2, 3, 0], srow_y=[1, 2, 3, 0])
    refused(path, "singular")


def test_a_rotation_that_is_none_is_refused(tmp_path: Path, scan: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii", scan, sform_code=0, qform_code=1, quatern_b=0.9, quatern_c=0.9)
    refused(path, "not one")


@pytest.mark.parametrize("excess", [0, 1e-7, 4e-7, 1e-6, 1e-5, 1e-4])
def test_a_quaternion_that_is_too_long_by_rounding_is_a_rotation(tmp_path: Path, excess: float) -> None:
    quaternion = {"quatern_b": 0.0, "quatern_c": 0.0, "quatern_d": np.sqrt(1 + excess)}
    flipped = np.diag([-1.5, -1.5, 3, 1])
    path = save(tmp_path / "scan.nii", np.zeros((3, 4, 5), np.int16), flipped, sform_code=0, qform_code=1, **quaternion)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([-1.5, -1.5, 3]), atol=1e-5)
    write_labels(tmp_path / "mask.nii", LabelMap(np.zeros((3, 4, 5), np.uint8), volume.affine), path)
    np.testing.assert_allclose(nib.load(tmp_path / "mask.nii").affine, volume.affine, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_voxels_that_are_no_plain_numbers_are_refused(tmp_path: Path, dtype: Any) -> None:
    refused(save(tmp_path / "scan.nii", np.zeros((3, 3, 3), dtype)), "integers or floating point numbers are expected")


def test_a_size_that_no_scanner_makes_is_refused_before_memory_is_asked_for(tmp_path: Path, scan: np.ndarray) -> None:
    for name in ("scan.nii", "scan.nii.gz"):
        refused(
            save(tmp_path / name, scan, dim=[3, 32000, 32000, 32000, 1, 1, 1, 1]), "announces 32000 x 32000 x 32000"
        )


def test_a_header_that_promises_more_than_deflate_can_hold_is_refused(tmp_path: Path, scan: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii.gz", scan, dim=[3, 1000, 1000, 900, 1, 1, 1, 1])
    refused(path, "compressed bytes cannot hold")


def test_an_empty_axis_is_refused(tmp_path: Path, scan: np.ndarray) -> None:
    refused(save(tmp_path / "scan.nii", scan, dim=[3, 7, 0, 5, 1, 1, 1, 1]), "empty")


def test_a_pair_of_header_and_image_is_refused(tmp_path: Path, scan: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii", scan)
    path.write_bytes(path.read_bytes().replace(b"n+1\0", b"ni1\0", 1))
    refused(path, "wrong magic")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    for name, content in (
        ("a.nii", b"x" * 1000),
        ("a.nii.gz", b"x" * 1000),
        ("b.nii", gzip.compress(np.random.default_rng(0).bytes(2000))),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "not a NIfTI|damaged")
    refused(tmp_path / "scan.mha", "by its name")
    refused(tmp_path / "absent.nii", "No such file")
    (tmp_path / "folder.nii").mkdir()
    refused(tmp_path / "folder.nii", "cannot be read")


def test_labels_may_be_stored_as_floating_point(tmp_path: Path) -> None:
    array = (np.arange(60) % 9).reshape(5, 4, 3).astype(np.float64)
    labels = read_labels(save(tmp_path / "mask.nii.gz", array))
    assert labels.array.dtype == np.uint8
    np.testing.assert_array_equal(labels.array, array)


def test_a_written_mask_has_the_shape_affine_and_codes_of_the_scan(tmp_path: Path, scan: np.ndarray) -> None:
    image = nib.Nifti1Image(scan[..., None], AFFINE)
    image.set_sform(AFFINE, code=2)
    image.set_qform(AFFINE, code=4, strip_shears=True)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(tmp_path / "scan.nii.gz")
    mask = (np.arange(scan.size) % 9).reshape(scan.shape).astype(np.uint8)
    volume = read_volume(tmp_path / "scan.nii.gz")
    write_labels(tmp_path / "mask.nii.gz", LabelMap(mask, volume.affine), tmp_path / "scan.nii.gz")
    written, stored = nib.load(tmp_path / "mask.nii.gz"), nib.load(tmp_path / "scan.nii.gz")
    assert written.shape == (7, 6, 5, 1)
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(written.dataobj)[..., 0], mask)
    np.testing.assert_array_equal(written.affine, stored.affine)
    for field in ("sform_code", "qform_code", "xyzt_units", "pixdim", "srow_x", "quatern_b", "qoffset_z", "dim"):
        np.testing.assert_array_equal(written.header[field], stored.header[field], err_msg=field)


def test_no_text_of_the_scan_is_copied_into_the_mask(tmp_path: Path, scan: np.ndarray) -> None:
    image = nib.Nifti1Image(scan, AFFINE)
    for field in ("descrip", "db_name", "aux_file", "intent_name"):
        image.header[field] = b"DOE^JANE"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    image.to_filename(tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    np.testing.assert_array_equal(volume.array[0], scan)  # the extension was read over
    write_labels(tmp_path / "mask.nii", LabelMap(np.zeros(scan.shape, np.uint8), volume.affine), tmp_path / "scan.nii")
    content = (tmp_path / "mask.nii").read_bytes()
    assert b"DOE" not in content
    assert RESEARCH_USE_ONLY.encode()[:79] in content


def test_a_mask_of_another_grid_is_not_written(tmp_path: Path, scan: np.ndarray) -> None:
    path = save(tmp_path / "scan.nii", scan)
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    for labels in (LabelMap(np.zeros(scan.shape, np.uint8), shifted), LabelMap(np.zeros((7, 6, 4), np.uint8), AFFINE)):
        with pytest.raises(OutputError, match=r"grid|array is"):
            write_labels(tmp_path / "mask.nii", labels, path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["scan.nii"]


def test_an_existing_file_is_left_alone(tmp_path: Path) -> None:
    labels = LabelMap(np.zeros((3, 3, 3), np.uint8), np.eye(4))
    (tmp_path / "mask.nii").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        write_labels(tmp_path / "mask.nii", labels)
    assert (tmp_path / "mask.nii").read_bytes() == b"mine"
    write_labels(tmp_path / "mask.nii", labels, overwrite=True)
    assert not read_labels(tmp_path / "mask.nii").array.any()


def test_equal_masks_are_equal_bytes(tmp_path: Path) -> None:
    labels = LabelMap(np.eye(5, dtype=np.uint8)[None].repeat(3, 0), np.eye(4))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_labels(tmp_path / name, labels)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_mask_made_in_training_orientation_returns_to_the_scans_own(tmp_path: Path, codes: str) -> None:
    """Mark the voxel at a known place in the patient, in all 48 orientations a file may have."""
    array = np.zeros((4, 5, 6), np.int16)
    affine = _affine_of(codes)
    array[3, 0, 5] = 700
    path = save(tmp_path / "scan.nii", array, affine)
    volume = read_volume(path)
    upright = volume.reoriented()
    mask = np.zeros(upright.shape, np.uint8)
    mask[upright.array[0] == 700] = 5
    back = LabelMap(mask, upright.affine).reoriented("".join(orientations.aff2axcodes(volume.affine)))
    write_labels(tmp_path / "mask.nii", back, path)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "mask.nii").dataobj), (array == 700) * 5)


def _affine_of(codes: str, spacing: tuple[float, ...] = (0.7, 0.8, 2.5)) -> np.ndarray:
    """An affine whose array axes run to `codes`, with spacings by array axis."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(codes):
        world = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}[code]
        affine[world, axis] = spacing[axis] * (1 if code in "RAS" else -1)
    affine[:3, 3] = 11, -5, 3
    return affine


@settings(max_examples=60, deadline=None)
@given(
    codes=st.sampled_from(ORIENTATIONS),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 9)] * 3),
    seed=st.integers(0, 2**16),
)
def test_orientation_round_trips_keep_every_voxel_in_its_place(
    codes: str, shape: tuple[int, ...], spacing: tuple[float, ...], seed: int, tmp_path_factory: Any
) -> None:
    array = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    path = tmp_path_factory.mktemp("round") / "scan.nii"
    affine = _affine_of(codes, spacing)
    write_volume(path, Volume(array[None], affine))
    volume = read_volume(path)
    upright = volume.reoriented()
    assert "".join(orientations.aff2axcodes(upright.affine)) == "SLP"
    back = upright.reoriented(codes)
    np.testing.assert_array_equal(back.array[0], array)
    np.testing.assert_allclose(back.affine, affine, atol=1e-4)


def test_a_volume_of_several_channels_is_read_back(tmp_path: Path, scan: np.ndarray) -> None:
    write_volume(tmp_path / "scan.nii.gz", Volume(np.stack([scan, scan // 2]), AFFINE, slope=2, intercept=-3))
    volume = read_volume(tmp_path / "scan.nii.gz", channels=2)
    np.testing.assert_array_equal(volume.array, [scan, scan // 2])
    assert (volume.slope, volume.intercept) == (2, -3)


def test_the_orientation_is_known_only_with_a_header_code(tmp_path: Path, scan: np.ndarray) -> None:
    assert read_geometry(save(tmp_path / "known.nii", scan)).orientation_known
    assert not read_geometry(save(tmp_path / "guess.nii", scan, sform_code=0, qform_code=0)).orientation_known


def test_reading_costs_little_more_memory_than_the_volume(tmp_path: Path) -> None:
    write_volume(tmp_path / "scan.nii.gz", Volume(np.zeros((1, 512, 512, 200), np.int16), np.eye(4)))
    program = (
        "import resource, sys; from embedded_vit.io.nifti import read_volume; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; before = peak(); "
        f"volume = read_volume({str(tmp_path / 'scan.nii.gz')!r}); "
        "print(peak() - before, volume.array.nbytes / 2**20)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    added_mib, volume_mib = map(float, result.stdout.split())
    assert volume_mib == 100
    assert added_mib < volume_mib + 50
