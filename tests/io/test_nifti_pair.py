"""NIfTI pairs are read as single files are; Analyze, of the same names, is refused by its name."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from embedded_vit.errors import FileFormatError
from embedded_vit.io import is_scan, open_scan
from embedded_vit.io.scan_folder import find_scans

AFFINE = np.array([[-0.7, 0.1, 0, 30], [0.05, -0.8, 0.2, -12], [0, 0.3, 2.5, 7], [0, 0, 0, 1]])
ARRAY = np.random.default_rng(0).integers(-1000, 1500, (7, 6, 5)).astype(np.int16)


@pytest.fixture
def header(tmp_path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Pair(ARRAY, AFFINE), tmp_path / "case.img")
    return tmp_path / "case.hdr"


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
def test_a_pair_is_read_by_either_name(header: Path, suffix: str) -> None:
    path = header.with_suffix(suffix)
    digest = hashlib.sha256(header.read_bytes() + header.with_suffix(".img").read_bytes()).hexdigest()
    with open_scan(path) as unread:
        assert unread.sha256() == digest
    source = open_scan(path)
    np.testing.assert_array_equal(source.read().array[0], ARRAY)
    np.testing.assert_allclose(source.affine, AFFINE, atol=1e-5)
    assert source.sha256() == digest
    assert source.remarks == ()


def test_a_search_finds_a_pair_once(header: Path, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(b"not a scan")
    (tmp_path / "other.hdr").write_bytes(b"ENVI")
    scans, _ = find_scans(tmp_path)
    assert [(scan.place, scan.name) for scan in scans] == [(header, "case")]
    assert not is_scan(tmp_path / "disk.img")


def test_half_a_pair_is_refused(header: Path) -> None:
    header.with_suffix(".img").unlink()
    with pytest.raises(FileFormatError, match=r"one of a pair, and case\.img is not beside it"):
        open_scan(header)


def test_voxels_that_are_too_short_are_refused(header: Path) -> None:
    header.with_suffix(".img").write_bytes(b"few")
    with pytest.raises(FileFormatError, match="truncated: 3 bytes cannot hold the 420 bytes"):
        open_scan(header)


def test_analyze_is_called_by_its_name(tmp_path: Path) -> None:
    nibabel.save(nibabel.AnalyzeImage(ARRAY, np.diag([2.0, 2, 2, 1])), tmp_path / "case.img")
    with pytest.raises(FileFormatError, match="an Analyze file, which does not say where the patient's left is"):
        open_scan(tmp_path / "case.hdr")
