"""The identity of a data set's content: every file counts, wherever it lies, and a changed one is noticed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from embedded_vit.datasets import identity, open_data_set
from embedded_vit.datasets.identity import case_contents, data_content, file_stamps
from embedded_vit.io.digest import sha256_of
from embedded_vit.labels import LabelSet


@pytest.fixture
def folder(nnunet_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(nnunet_folder, tmp_path / "data"))


def content(folder: Path) -> str:
    data_set = open_data_set(folder)
    return data_content(data_set, [case.name for case in data_set.cases])


def flip_a_byte(path: Path) -> None:
    """Change a file without changing its size or the time of its last modification."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)[0]
        file.seek(status.st_size // 2)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("kind", ["nnunet_folder", "decathlon_folder", "synapse_folder"])
def test_every_file_of_a_case_counts(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(request.getfixturevalue(kind), tmp_path / "data"))
    data_set, before = open_data_set(folder), content(folder)
    assert before == content(request.getfixturevalue(kind))
    files = {path for case in data_set.cases for path in data_set.files_of(case)}
    data_files = {path for path in folder.rglob("*") if path.suffix in (".gz", ".npz", ".h5")}
    assert files == data_files
    for path in sorted(files)[:: max(1, len(files) // 4)]:
        flip_a_byte(path)
        assert content(folder) != before, path
        flip_a_byte(path)
        assert content(folder) == before


def test_structures_and_channels_count(folder: Path) -> None:
    data_set = open_data_set(folder)
    names = [case.name for case in data_set.cases]
    fewer = replace(data_set, labels=LabelSet.from_names(data_set.labels.names[:-1]))
    other = replace(data_set, channels=("MR",), modality="MR")
    assert len({data_content(each, names) for each in (data_set, fewer, other)}) == 3


def test_files_that_have_not_changed_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_set, read = open_data_set(folder), list[Path]()
    names = [case.name for case in data_set.cases]

    def digest(path: str | Path) -> str:
        read.append(Path(path))
        return sha256_of(path)

    monkeypatch.setattr(identity, "sha256_of", digest)
    monkeypatch.setattr(identity, "SETTLED_NS", 0)
    stamps = file_stamps(data_set, names)
    assert len(read) == len(stamps) == 8
    read.clear()
    assert file_stamps(data_set, names, stamps) == stamps
    assert read == []
    changed = data_set.files_of(data_set.cases[0])[1]
    flip_a_byte(changed)  # only the time that no program sets tells it
    again = file_stamps(data_set, names, stamps)
    assert read == [changed]
    assert case_contents(data_set, names, again) != case_contents(data_set, names, stamps)


def test_what_was_just_written_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes within a tick of the file system's clock leave the same times."""
    data_set = open_data_set(folder)
    names = [case.name for case in data_set.cases]
    (path, *_) = data_set.files_of(data_set.cases[0])
    path.write_bytes(path.read_bytes())
    stamps = file_stamps(data_set, names)
    assert not stamps[str(path)].settled
    forged = {name: stamp.model_copy(update={"sha256": "0"}) for name, stamp in stamps.items()}
    assert file_stamps(data_set, names, forged)[str(path)] == stamps[str(path)]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["missing", "empty"])
def test_a_missing_or_empty_file_is_another_content(folder: Path, spoil: Callable[[Path], object]) -> None:
    data_set, before = open_data_set(folder), content(folder)
    names = [case.name for case in data_set.cases]
    spoil(data_set.files_of(data_set.cases[0])[1])
    assert data_content(data_set, names) != before
