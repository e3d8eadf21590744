"""The way of a scan through the folders of the package: in by `io`, out by `io`, and no folder more than twice.

A folder is entered when a function in it is called from another folder; when that function returns, its caller goes on,
and nothing is entered. So a folder stays entered until another one is: calls in a row into one folder are one visit,
and the loop over the slices, which goes round between the same folders, is one visit to each. Modules in the
package root are what all folders stand on. They are not folders and do not count; who calls a folder through one of
them is the folder below.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_fixtures import write_series

import embedded_vit
from embedded_vit.predict.folder import predict_path
from embedded_vit.predict.memory import WORKING_BYTES
from embedded_vit.predict.predictor import Predictor

MakeArtifact = Callable[..., Path]
SLICES = 6
PACKAGE = Path(embedded_vit.__file__).parent


def folder_of(frame: FrameType) -> str | None:
    """The folder of the package that a function lies in; None for modules in the package root and for others."""
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(PACKAGE):
        return None
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def calling_folder(frame: FrameType) -> str | None:
    """The folder of the nearest caller that lies in one."""
    caller = frame.f_back
    while caller is not None and folder_of(caller) is None:
        caller = caller.f_back
    return None if caller is None else folder_of(caller)


@contextmanager
def entered_folders() -> Iterator[list[str]]:
    """Collect the folders that are entered, one after the other."""
    entered: list[str] = []

    def on_event(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":  # importing a module is not the way of a scan
            folder = folder_of(frame)
            if folder is not None and folder != calling_folder(frame):
                entered.append(folder)

    sys.setprofile(on_event)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def visits(entered: list[str]) -> list[str]:
    """Count rounds through the same folders once, where there are as many as a scan has slices.

    a a b -> a b; with six slices, a b a b a b a b a b a b c -> a b c, but a b a b c stays.
    """
    seen = list(entered)
    for length in range(1, len(set(entered)) + 1):
        rounds = 2 if length == 1 else SLICES
        place = 0
        while place + rounds * length <= len(seen):
            around = seen[place : place + length]
            if seen[place : place + rounds * length] == around * rounds:
                while seen[place + length : place + 2 * length] == around:
                    del seen[place : place + length]
            place += 1
    return seen


def stored() -> np.ndarray:
    """(slices, rows, columns) in HU: air, and something bright."""
    hounsfield = np.full((SLICES, 32, 40), -1000, np.int16)
    hounsfield[1:3, 8:16, 8:16] = 400
    return hounsfield


def nifti_scan(folder: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(stored().T, np.diag([-1.0, -1, 3, 1])), folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def dicom_scan(folder: Path) -> Path:
    write_series(folder / "series", stored())
    return folder / "series"


def test_visits_collapse_rounds_only() -> None:
    assert visits(["io", "io", *["a", "b", "b"] * SLICES, "io"]) == ["io", "a", "b", "io"]
    assert visits([*["a", "b", "c"] * SLICES, "b", "a"]) == ["a", "b", "c", "b", "a"]
    assert visits(["a", "b", "a", "b", "a", "a"]) == ["a", "b", "a", "b", "a"]


@pytest.mark.parametrize("make_scan", [nifti_scan, dicom_scan])
@pytest.mark.parametrize("memory_bytes", [None, 2**40, WORKING_BYTES], ids=["default", "in memory", "on the disk"])
def test_no_folder_is_entered_again_more_than_once(
    make_artifact: MakeArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_scan: Callable[[Path], Path],
    memory_bytes: int | None,
) -> None:
    monkeypatch.setattr("embedded_vit.predict.memory.resident_bytes", lambda: 0)
    monkeypatch.setattr("embedded_vit.predict.memory._free_below_limit", lambda: iter(()))
    predictor, scan = Predictor.load(make_artifact(), threads=1), make_scan(tmp_path)
    with entered_folders() as entered:
        predictor.predict(scan, memory_bytes=memory_bytes).save(tmp_path / "mask.nii.gz")
    seen = visits(entered)
    assert (seen[0], seen[-1]) == ("predict", "io")
    assert {folder: seen.count(folder) for folder in seen if seen.count(folder) > 2} == {}


@pytest.mark.parametrize("make_scan", [nifti_scan, dicom_scan])
def test_the_verb_goes_the_same_way(
    make_artifact: MakeArtifact, tmp_path: Path, make_scan: Callable[[Path], Path]
) -> None:
    predictor, scan = Predictor.load(make_artifact(), threads=1), make_scan(tmp_path)
    with entered_folders() as entered:
        predict_path(predictor, scan, tmp_path / "mask.nii.gz")
    assert visits(entered) == ["predict", "io", "engines", "io"]
