"""Arrays on the disk: written along one axis and read along another, and a disk that fails is one line."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embedded_vit.errors import OutputError
from embedded_vit.io.spool.spool import Spool, check_free_disk

SHAPE = (5, 6, 7)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_planes_go_in_and_slices_come_out(array: np.ndarray, slice_axis: int, tmp_path: Path) -> None:
    spool = Spool(SHAPE, array.dtype, slice_axis=slice_axis, folder=tmp_path)
    for start, stop in ((0, 3), (3, 6), (6, 7)):
        spool.write_planes(start, array[:, :, start:stop])
    cut = array.transpose(spool.axes)  # (slices, slower, faster)
    for index in range(SHAPE[slice_axis]):
        np.testing.assert_array_equal(spool.read_slice(index), cut[index])


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_slices_go_in_and_planes_come_out(array: np.ndarray, slice_axis: int, tmp_path: Path) -> None:
    spool = Spool(SHAPE, array.dtype, slice_axis=slice_axis, folder=tmp_path)
    for index, plane in enumerate(array.transpose(spool.axes)):
        spool.write_slice(index, plane)
    np.testing.assert_array_equal(spool.read_planes(2, 6), array[:, :, 2:6])


def test_it_begins_with_zeros_and_shows_no_name(tmp_path: Path) -> None:
    spool = Spool(SHAPE, np.dtype(np.uint8), slice_axis=2, folder=tmp_path)
    assert not spool.read_planes(0, 7).any()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_one_line(array: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        def truncate(self, size: int) -> None: ...

        def seek(self, place: int) -> None: ...

        def write(self, content: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: FullDisk())
    spool = Spool(SHAPE, array.dtype, slice_axis=2, folder=tmp_path)
    with pytest.raises(OutputError, match=r"the disk is full; make room, or allow more memory") as caught:
        spool.write_planes(0, array)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_disk_cannot_hold_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=999))
    check_free_disk(999, tmp_path)
    with pytest.raises(OutputError, match=r"needs 1,000 bytes of disk .*, 999 are free"):
        check_free_disk(1000, tmp_path)


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="absent"):
        Spool(SHAPE, np.dtype(np.uint8), slice_axis=2, folder=tmp_path / "absent")
    with pytest.raises(OutputError, match="absent"):
        check_free_disk(1, tmp_path / "absent")
