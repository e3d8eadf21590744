"""Phantom data sets are written whole, in any layout, and over nothing."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from embedded_vit.datasets.phantom import PhantomSettings
from embedded_vit.datasets.phantom_writer import Layout, write_phantoms
from embedded_vit.errors import ConfigError, OutputError

TINY = PhantomSettings(size=32, slices=4)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("layout", ["transunet", "decathlon", "nnunet"])
def test_the_same_seed_writes_the_same_files(tmp_path: Path, layout: Layout) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_phantoms(tmp_path / name, 2, layout=layout, settings=TINY, seed=seed)
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert first != other


def test_a_quarter_of_the_cases_is_there_to_test(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "data", 8, settings=TINY)
    tests = (tmp_path / "data" / "lists" / "test_vol.txt").read_text().split()
    assert tests == ["case0007", "case0008"]
    assert len((tmp_path / "data" / "lists" / "train.txt").read_text().split()) == 6 * 4
    assert sorted(path.name for path in (tmp_path / "data" / "test_vol_h5").iterdir()) == [
        "case0007.npy.h5",
        "case0008.npy.h5",
    ]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        write_phantoms(tmp_path, 2, settings=TINY)
    assert contents(tmp_path) == {"mine": b"mine"}


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_phantoms(tmp_path / "data", 2, settings=TINY)
    assert (tmp_path / "data" / "train_npz").is_dir()


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "data", 3, settings=TINY, on_case=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="data: cannot be written: No space left on device"):
        write_phantoms(tmp_path / "data", 3, settings=TINY, on_case=fill_the_disk)
    assert list(tmp_path.iterdir()) == []


def test_one_case_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        write_phantoms(tmp_path / "data", 1, settings=TINY)
