"""A scan's file is read once: header, voxels and digest come out of the same bytes."""

from __future__ import annotations

import builtins
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
from dicom_fixtures import write_series

from embedded_vit.io.nifti import read, stream
from embedded_vit.io.scan_source import open_scan
from embedded_vit.predict.predictor import Predictor

MakeArtifact = Callable[..., Path]
HEADER_BYTES = 2 * io.DEFAULT_BUFFER_SIZE  # of a DICOM file: its header, and what is read with it


class Readings:
    """How often each file was opened, and how many of its bytes the system gave."""

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def open(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        """`open`, counted where a binary file is read."""
        if mode != "rb":
            return REAL_OPEN(file, mode, *arguments, **options)
        self.opened[str(file)] += 1
        counted = CountedFile(file, self)
        return counted if options.get("buffering") == 0 else io.BufferedReader(counted)


class CountedFile(io.FileIO):
    """A file that counts the bytes that are read from the system."""

    def __init__(self, path: Any, readings: Readings) -> None:
        super().__init__(path, "rb")
        self._count, self._readings = str(path), readings

    def readinto(self, buffer: Any) -> int | None:
        """Count the bytes that `io.BufferedReader` reads."""
        done = super().readinto(buffer)
        self._readings.bytes[self._count] += done or 0
        return done

    def readall(self) -> bytes:
        """Count the bytes that `io.BufferedReader` reads to the end."""
        content = super().readall()
        self._readings.bytes[self._count] += len(content)
        return content


REAL_OPEN = builtins.open


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Readings:
    counted = Readings()
    monkeypatch.setattr(builtins, "open", counted.open)
    return counted


@pytest.fixture
def parsed_headers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The NIfTI files whose headers were parsed, in order."""
    parsed: list[str] = []
    original = stream.read_header

    def counting(file: Any, source: str) -> Any:
        parsed.append(source)
        return original(file, source)

    for module in (stream, read):
        monkeypatch.setattr(module, "read_header", counting)
    return parsed


def stored(slices: int = 6) -> np.ndarray:
    hounsfield = np.random.default_rng(0).integers(-1000, 1000, (slices, 256, 200)).astype(np.int16)
    hounsfield[:, 0] = -1000
    return hounsfield


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("room_bytes", [0, 2**40], ids=["onto the disk", "into memory"])
def test_a_nifti_file_is_opened_once_and_read_once(
    make_artifact: MakeArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    readings: Readings,
    parsed_headers: list[str],
    name: str,
    room_bytes: int,
) -> None:
    scan = tmp_path / name
    nibabel.save(nibabel.Nifti1Image(stored().T, np.diag([-1.0, -1, 3, 1])), scan)
    predictor = Predictor.load(make_artifact(), threads=1)
    monkeypatch.setattr(Predictor, "_room_bytes", lambda *_: room_bytes)
    predictor.predict(scan, spool_folder=tmp_path).save(tmp_path / "mask.nii.gz")
    assert readings.opened[str(scan)] == 1
    assert readings.bytes[str(scan)] == scan.stat().st_size
    assert parsed_headers == [str(scan)]


def test_the_pixels_of_a_dicom_file_are_read_once(
    make_artifact: MakeArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readings: Readings
) -> None:
    """The headers of all files are read before, to choose the series: then the pixels are left alone."""
    paths = write_series(tmp_path / "series", stored())
    others = write_series(tmp_path / "series", stored(3), prefix="mr", Modality="MR", SeriesInstanceUID="1.2.4")
    parsed: Counter[str] = Counter()
    original = pydicom.dcmread

    def counting(file: Any, **options: Any) -> Any:
        parsed["header" if options.get("stop_before_pixels") else "pixels"] += 1
        return original(file, **options)

    monkeypatch.setattr(pydicom, "dcmread", counting)
    predictor = Predictor.load(make_artifact(), threads=1)
    predictor.predict(tmp_path / "series").save(tmp_path / "mask.nii.gz")
    assert parsed == {"header": len(paths) + len(others), "pixels": len(paths)}
    for path in paths:
        size = path.stat().st_size
        assert readings.opened[str(path)] == 2
        assert size <= readings.bytes[str(path)] <= size + HEADER_BYTES < 2 * size
    for path in others:
        assert readings.opened[str(path)] == 1
        assert readings.bytes[str(path)] <= HEADER_BYTES < path.stat().st_size


def test_the_digest_of_an_h5_file_is_a_second_reading(tmp_path: Path, readings: Readings) -> None:
    """HDF5 reads the voxels itself, which nothing here counts; Python reads the file once more for the digest."""
    with h5py.File(tmp_path / "case.npy.h5", "w") as file:
        file.create_dataset("image", data=stored(), compression="gzip")
    path = tmp_path / "case.npy.h5"
    source = open_scan(path)
    source.read()
    assert readings.opened[str(path)] == 0
    source.sha256()
    source.sha256()
    assert (readings.opened[str(path)], readings.bytes[str(path)]) == (1, path.stat().st_size)
