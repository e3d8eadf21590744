"""What Windows refuses is refused here too: files that cannot be flushed, replaced or linked, and absent modules.

The package has not been run on Windows. These fakes hold what is known of it: a file that was opened for reading cannot
be flushed, an open or mapped file cannot be replaced or removed, links need a right that users do not have, text files
end their lines with two characters and are not UTF-8 unless told so, and POSIX modules are not there.
"""

from __future__ import annotations

import ast
import builtins
import errno
import fcntl
import io
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_fixtures import write_series

import embedded_vit
from embedded_vit.datasets import open_data_set
from embedded_vit.datasets.phantom import PhantomSettings
from embedded_vit.datasets.phantom_writer import write_phantoms
from embedded_vit.errors import OutputError
from embedded_vit.io.atomic import atomic_path, write_text
from embedded_vit.io.cache import recall, remember
from embedded_vit.io.file_lock import file_lock
from embedded_vit.predict import memory
from embedded_vit.predict.predictor import Predictor
from embedded_vit.preprocessing import Preprocessing
from embedded_vit.search.alive import FileLocks, taken_trials, trial_lock, try_again_what_died
from embedded_vit.search.space import Budget, SearchSettings
from embedded_vit.search.study import open_study
from embedded_vit.training.slices import prepare_slices

MakeArtifact = Callable[..., Path]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fakes ask Linux which files are open")

NOT_ON_WINDOWS = ("fcntl", "grp", "pwd", "resource", "termios")
OS_NOT_ON_WINDOWS = ("fork", "geteuid", "getloadavg", "sched_getaffinity", "sysconf")
REAL = SimpleNamespace(fsync=os.fsync, replace=os.replace, unlink=os.unlink, open=io.open, flock=fcntl.flock)


def is_open(path: Any) -> bool:
    """Return whether this process has a file open or mapped."""
    wanted = os.path.realpath(path)
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}") == wanted:
                return True
        except OSError:
            continue
    with REAL.open("/proc/self/maps", encoding="utf-8") as maps:
        return any(line.rstrip("\n").endswith(f" {wanted}") for line in maps)


def fsync(descriptor: int) -> None:
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    REAL.fsync(descriptor)


def replace(source: Any, target: Any, **options: Any) -> None:
    if is_open(source) or is_open(target):
        raise PermissionError(errno.EACCES, "Access is denied")
    REAL.replace(source, target, **options)


def unlink(path: Any, **options: Any) -> None:
    if not options.get("dir_fd") and is_open(path):
        raise PermissionError(errno.EACCES, "The process cannot access the file")
    REAL.unlink(path, **options)


def symlink(*_: Any, **__: Any) -> None:
    raise OSError(errno.EINVAL, "A required privilege is not held by the client")


def open_text(file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None,
              errors: str | None = None, newline: str | None = None, **options: Any) -> Any:  # fmt: skip
    if "b" in mode:
        return REAL.open(file, mode, buffering, **options)
    encoding = "cp1252" if encoding in (None, "locale") else encoding
    newline = "\r\n" if newline is None and "r" not in mode else newline
    return REAL.open(file, mode, buffering, encoding, errors, newline, **options)


def locking(descriptor: int, mode: str, count: int) -> None:
    assert count == 1
    REAL.flock(descriptor, {"lock at once": fcntl.LOCK_EX | fcntl.LOCK_NB, "unlock": fcntl.LOCK_UN}[mode])


@pytest.fixture
def like_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the functions that Windows does not have, and refuse the calls that it refuses."""
    for name in NOT_ON_WINDOWS:
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises ModuleNotFoundError
    for name in OS_NOT_ON_WINDOWS:
        monkeypatch.delattr(os, name)
    for name, fake in (("fsync", fsync), ("replace", replace), ("unlink", unlink), ("symlink", symlink)):
        monkeypatch.setattr(os, name, fake)
    monkeypatch.setattr(io, "open", open_text)
    monkeypatch.setattr(builtins, "open", open_text)
    monkeypatch.setattr(tempfile, "TemporaryFile", tempfile.NamedTemporaryFile)
    msvcrt = SimpleNamespace(LK_NBLCK="lock at once", LK_UNLCK="unlock", locking=locking)
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)  # type: ignore[arg-type]
    for name in ("MEMINFO", "PROCESS_CGROUP", "CGROUP_FOLDER"):
        monkeypatch.setattr(memory, name, tmp_path / "absent")
    monkeypatch.setattr(memory, "resident_bytes", lambda: 0)


def test_the_fakes_refuse(like_windows: None, tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_text("a\n")
    assert path.read_bytes() == b"a\r\n"
    other.write_bytes(b"")
    with open(path, "rb") as file:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fsync(file.fileno())
        with pytest.raises(PermissionError, match="denied"):
            os.replace(other, path)
        with pytest.raises(PermissionError):
            path.unlink()
    mapped = np.memmap(path, np.uint8, "r")
    with pytest.raises(PermissionError, match="denied"):
        os.replace(other, path)
    del mapped
    os.replace(other, path)
    with pytest.raises(OSError, match="privilege"):
        path.symlink_to(other)
    with pytest.raises(ModuleNotFoundError):
        import fcntl  # noqa: F401


def test_a_text_file_has_the_same_bytes_as_elsewhere(like_windows: None, tmp_path: Path) -> None:
    for text in ("mm²\nml\n", "again\n"):
        write_text(tmp_path / "file", text, overwrite=True)
        assert (tmp_path / "file").read_bytes() == text.encode()
    remember("sizes", "a", {"unit": "mm²"})
    assert recall("sizes", "a") == {"unit": "mm²"}


def test_a_file_that_a_program_has_open_is_left_as_it_is(like_windows: None, tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with open(tmp_path / "file", "rb"), pytest.raises(OutputError, match="file: cannot write: Access is denied"):
        write_text(tmp_path / "file", "new", overwrite=True)
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_binary_file_is_flushed_and_renamed(like_windows: None, tmp_path: Path) -> None:
    with atomic_path(tmp_path / "new" / "file") as temporary:
        temporary.write_bytes(b"\n")
    assert (tmp_path / "new" / "file").read_bytes() == b"\n"


@pytest.mark.parametrize("windows", [False, True], ids=["POSIX", "Windows"])
def test_one_holds_a_lock_and_nobody_else(windows: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if windows:
        request.getfixturevalue("like_windows")
    for _ in range(2):
        with file_lock(tmp_path / "lock") as first, file_lock(tmp_path / "lock") as second:
            assert (first, second) == (True, False)
    with file_lock(tmp_path / "other") as first, file_lock(tmp_path / "lock") as second:
        assert (first, second) == (True, True)
    with pytest.raises(ValueError, match="inside"), file_lock(tmp_path / "lock"):
        raise ValueError("inside")
    with file_lock(tmp_path / "lock") as again:
        assert again


def test_without_locks_nobody_holds_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with file_lock(tmp_path / "lock") as held:
        assert not held


def test_a_search_is_joined_and_its_dead_trials_are_found(like_windows: None, tmp_path: Path) -> None:
    settings = SearchSettings(budget=Budget.read("latency_ms=5"), threads=1)
    first, second = (open_study(tmp_path, settings, "data") for _ in range(2))
    with trial_lock(tmp_path, first.ask().number) as locked:
        assert locked
        assert not try_again_what_died(second, FileLocks(tmp_path))
    assert [trial.number for trial in try_again_what_died(second, FileLocks(tmp_path))] == [0]
    assert taken_trials(open_study(tmp_path, settings, "data")) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("memory_bytes", [None, memory.WORKING_BYTES], ids=["in memory", "on the disk"])
@pytest.mark.parametrize("kind", ["NIfTI", "DICOM"])
def test_a_scan_becomes_a_mask(
    like_windows: None, make_artifact: MakeArtifact, tmp_path: Path, kind: str, memory_bytes: int | None
) -> None:
    stored = np.full((4, 32, 40), -1000, np.int16)
    stored[1:3, 8:16, 8:16] = 400
    scan = tmp_path / "scan.nii.gz"
    if kind == "NIfTI":
        nibabel.save(nibabel.Nifti1Image(stored.T, np.diag([-1.0, -1, 3, 1])), scan)
    else:
        scan = tmp_path / "series"
        write_series(scan, stored)
    before = {path.name for path in tmp_path.iterdir()}
    prediction = Predictor.load(make_artifact(), threads=1).predict(
        scan, memory_bytes=memory_bytes, spool_folder=tmp_path
    )
    prediction.save(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "mask.nii.gz").dataobj).T, stored == 400)
    del prediction
    assert {path.name for path in tmp_path.iterdir()} - before == {
        *("model.onnx", "mask.nii.gz", "mask.json", "mask_preview.png")
    }


def test_a_data_set_is_written_opened_and_prepared(like_windows: None, tmp_path: Path) -> None:
    for layout in ("transunet", "decathlon", "nnunet"):
        write_phantoms(tmp_path / layout, 2, layout=layout, settings=PhantomSettings(size=64, slices=4))
        data_set = open_data_set(tmp_path / layout)
        assert data_set.read_labels(data_set.cases[0]).array.any()
    preprocessing = Preprocessing.for_modality("CT", image_size=32)
    slices = prepare_slices(data_set, [data_set.cases[0].name], preprocessing, tmp_path / "slices")
    again = prepare_slices(data_set, [data_set.cases[0].name], preprocessing, tmp_path / "slices")
    assert slices.fingerprint == again.fingerprint


def test_no_module_needs_posix_to_be_imported() -> None:
    """Inside a function such an import is in a `try`; at the top of a module no caller could catch it."""
    source = Path(embedded_vit.__file__).parent
    for path in source.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert not modules & {*NOT_ON_WINDOWS}, path
