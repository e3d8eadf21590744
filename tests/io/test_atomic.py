"""Files exist whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from leftover_fixtures import NOBODY, left_by

from embedded_vit.errors import OutputError
from embedded_vit.io.atomic import atomic_path, check_folder, sweep_tree, temporary_beside, write_text


def write_half(path: Path, error: Exception) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("half")
        raise error


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"):
        write_half(tmp_path / "file", ValueError("stop"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(OutputError, match="file: cannot write: the disk is full"):
        write_half(tmp_path / "file", OSError(errno.ENOSPC, "No space left on device"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "file" / "inside", "text")


@pytest.mark.parametrize("below", ["", "run", "a/b/run"])
def test_a_file_where_a_folder_is_wanted_is_refused_before_any_work(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file is a file, where a folder is expected; choose another --output"):
        check_folder(tmp_path / "file" / below)
    check_folder(tmp_path / "new" / "run")
    check_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_before_any_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="may not be written"):
            check_folder(tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


def test_what_a_killed_process_left_is_swept_with_all_below_it(tmp_path: Path) -> None:
    below = tmp_path / "stages" / "1"
    below.mkdir(parents=True)
    file, folder = left_by(NOBODY, tmp_path / "model.onnx"), left_by(NOBODY, below / "patients")
    file.touch()
    folder.mkdir()
    (folder / "part").touch()
    of_another_computer = f"{file.name[:7]}{int(file.name[7:9], 16) ^ 1:02x}{file.name[9:]}"
    kept = [file.with_name(of_another_computer), temporary_beside(below / "b"), tmp_path / ".git", below / "model.onnx"]
    for path in kept:
        path.touch()
    sweep_tree(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert not folder.exists()
