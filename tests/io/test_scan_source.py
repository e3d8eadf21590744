"""Whatever a scan comes as, it is opened, asked and read in one way."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from dicom_fixtures import write_series

from embedded_vit.errors import FileFormatError
from embedded_vit.io.scan_source import FORMATS, is_scan, open_scan, scan_stem
from embedded_vit.io.spool import SpooledVolume
from embedded_vit.volume import UPRIGHT_AFFINE, Volume

STORED = np.random.default_rng(0).integers(-1000, 1000, (5, 33, 34)).astype(np.int16)  # upwards, to the left, backwards


@dataclass(frozen=True)
class Made:
    """A scan, and what its source is to say of it."""

    scan: Path | Volume
    format: str | None
    modality: str | None
    shape: tuple[int, int, int]
    volume_bytes: int
    sha256: str | None


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made_nifti(folder: Path, name: str = "case.nii.gz") -> Made:
    nibabel.save(nibabel.Nifti1Image(STORED.transpose(1, 2, 0), np.diag([-1.0, -1, 3, 1])), folder / name)
    return Made(folder / name, "NIfTI", None, (33, 34, 5), STORED.nbytes, digest(folder / name))


def made_plain_nifti(folder: Path) -> Made:
    return made_nifti(folder, "case.nii")


def made_h5(folder: Path) -> Made:
    with h5py.File(folder / "case.npy.h5", "w") as file:
        file.create_dataset("image", data=STORED, compression="gzip")
    path = folder / "case.npy.h5"
    return Made(path, "h5", None, (5, 33, 34), STORED.nbytes, digest(path))


def made_dicom(folder: Path) -> Made:
    paths = write_series(folder / "case", STORED.transpose(0, 2, 1))
    digests = "".join(sorted(map(digest, paths)))
    expected = hashlib.sha256(digests.encode()).hexdigest()
    return Made(folder / "case", "DICOM", "CT", (33, 34, 5), STORED.nbytes, expected)


def made_volume(folder: Path) -> Made:
    return Made(Volume(STORED[None], UPRIGHT_AFFINE, source="memory"), None, None, (5, 33, 34), 0, None)


MAKERS = [made_nifti, made_plain_nifti, made_h5, made_dicom, made_volume]
Maker = Callable[[Path], Made]


@pytest.mark.parametrize("make", MAKERS)
def test_a_source_tells_what_it_is_before_it_is_read(tmp_path: Path, make: Maker) -> None:
    made = make(tmp_path)
    with open_scan(made.scan) as source:
        assert (source.format, source.modality, source.channels) == (made.format, made.modality, 1)
        assert source.shape == source.geometry.shape == made.shape
        np.testing.assert_allclose(source.affine, source.geometry.affine, atol=1e-5)
        assert (source.volume_bytes, source.mask_bytes) == (made.volume_bytes, STORED.size)
        assert source.source in (str(made.scan), "memory")


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("onto_disk", [False, True])
def test_it_is_read_into_memory_or_onto_the_disk(tmp_path: Path, make: Maker, onto_disk: bool) -> None:
    made = make(tmp_path)
    source = open_scan(made.scan)
    scan = source.spool(tmp_path) if onto_disk else source.read()
    assert isinstance(scan, SpooledVolume) == (onto_disk and isinstance(made.scan, Path))
    assert source.sha256() == made.sha256
    upright = scan.reoriented()
    np.testing.assert_array_equal([upright.stored(index)[0] for index in range(len(STORED))], STORED)


@pytest.mark.parametrize("make", MAKERS)
def test_the_digest_of_a_scan_that_was_not_read_is_the_same(tmp_path: Path, make: Maker) -> None:
    made = make(tmp_path)
    with open_scan(made.scan) as source:
        assert source.sha256() == made.sha256
        np.testing.assert_array_equal(source.read().reoriented().array[0], STORED)


@pytest.mark.parametrize("make", MAKERS)
def test_a_source_that_is_not_read_leaves_no_file_open(tmp_path: Path, make: Maker) -> None:
    made = make(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with open_scan(made.scan):
            pass
        open_scan(made.scan).read()


def test_a_file_without_a_number_of_channels_asked_for_has_its_own(tmp_path: Path) -> None:
    four = np.stack([STORED.T, STORED.T + 1], axis=-1)
    nibabel.save(nibabel.Nifti1Image(four, np.eye(4)), tmp_path / "four.nii")
    with open_scan(tmp_path / "four.nii") as source:
        assert (source.channels, source.shape, source.geometry.shape) == (2, (34, 33, 5), (34, 33, 5))
        np.testing.assert_array_equal(source.read().array, np.moveaxis(four, -1, 0))
    with pytest.raises(FileFormatError, match=r"4-D .* where 3-D is expected"):
        open_scan(tmp_path / "four.nii", channels=1)
    nibabel.save(nibabel.Nifti1Image(four[..., None, :], np.eye(4)), tmp_path / "five.nii")
    with pytest.raises(FileFormatError, match=r"5-D .* where 3-D or 4-D is expected"):
        open_scan(tmp_path / "five.nii")


def test_the_series_is_chosen_by_modality_or_number(tmp_path: Path) -> None:
    write_series(tmp_path, STORED, prefix="a")
    write_series(tmp_path, STORED[:3], prefix="b", Modality="MR", SeriesInstanceUID="1.2.4", SeriesNumber=7)
    assert open_scan(tmp_path, modality="MR").shape == (34, 33, 3)
    assert open_scan(tmp_path, series=4).modality == "CT"
    with pytest.raises(FileFormatError, match=r"2 series: .* choose one with --series"):
        open_scan(tmp_path)


def test_what_is_no_scan_is_refused_and_says_what_is_one(tmp_path: Path) -> None:
    (tmp_path / "scan.txt").write_text("?")
    with pytest.raises(
        FileFormatError,
        match=r"expected a NIfTI file \(.nii.gz, .nii\), an NRRD or .*, a TransUNet .h5 file, a picture .*, or the f",
    ):
        open_scan(tmp_path / "scan.txt")
    with pytest.raises(FileFormatError, match="there is no such file"):
        open_scan(tmp_path / "absent.nii.gz")
    (tmp_path / "empty.nii").mkdir()
    with pytest.raises(FileFormatError, match="no DICOM image in this folder"):
        open_scan(tmp_path / "empty.nii")


@pytest.mark.parametrize("make", [made_nifti, made_plain_nifti, made_h5, made_dicom])
def test_a_scan_is_known_and_named_by_its_format(tmp_path: Path, make: Maker) -> None:
    path = make(tmp_path).scan
    assert isinstance(path, Path)
    assert is_scan(path)
    assert scan_stem(path) == "case"


def test_other_files_and_folders_are_no_scans(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("?")
    (tmp_path / "folder.nii").mkdir()
    assert not any(map(is_scan, [tmp_path, *tmp_path.iterdir()]))
    assert scan_stem(tmp_path / "folder.nii") == "folder.nii"


def test_every_format_is_in_the_table_once() -> None:
    assert [kind.format for kind in FORMATS] == ["NIfTI", "ITK", "h5", "picture", "DICOM"]
    suffixes = [suffix for kind in FORMATS for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
    for kind in FORMATS:
        for index, suffix in enumerate(kind.suffixes):
            assert not suffix.endswith(kind.suffixes[:index]), "a shorter suffix would be tried first"
