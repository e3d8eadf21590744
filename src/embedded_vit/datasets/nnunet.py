"""Data sets of nnU-Net: v2 raw, and v1, whose `dataset.json` looks like the Decathlon's.

    dataset.json                     channel_names (v1: modality), labels, file_ending; or `dataset`: case -> files
    imagesTr/CASE_0000.nii.gz, _0001, ...    one file per channel; without a number where there is one channel
    imagesTr/CASE_0000.png                   a picture with all its colours, or one file per channel
    labelsTr/CASE.nii.gz
    imagesTs, labelsTs               if both hold files, cases that only test

Files are looked for, not spelled out, so that endings in capitals and a missing `file_ending` are no obstacle.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedded_vit.counted import counted
from embedded_vit.datasets.data_set import refuse_shared_cases
from embedded_vit.datasets.description import DESCRIPTION_FILE, channels_of
from embedded_vit.datasets.file_data_set import CaseFiles, FileDataSet, data_set_of, inside
from embedded_vit.datasets.label_scheme import scheme_of
from embedded_vit.errors import DataSetError
from embedded_vit.io.nifti import SUFFIX
from embedded_vit.io.pictures import is_picture
from embedded_vit.io.scan_source import data_files, data_suffix, data_suffixes, scan_stem

__all__ = ["open_nnunet"]

NUMBERED = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
COLOURS = ("R", "G", "B")
EXPLICIT = '{"CASE": {"images": [...], "label": ...}}'


def open_nnunet(folder: Path, description: Mapping[str, Any]) -> FileDataSet:
    """Open an nnU-Net data set; no voxel is read.

    Args:
        folder: The folder of the data set.
        description: Its `dataset.json`.

    Raises:
        DataSetError: The description lacks something, or what it says cannot be used.
    """
    source = folder / DESCRIPTION_FILE
    version, key = ("v2 raw", "channel_names") if "channel_names" in description else ("v1 raw", "modality")
    channels = channels_of(description, key, source)
    if [name.upper() for name in channels] == ["RGB"]:
        channels = COLOURS
    stated = "dataset" in description
    files = _stated_files(folder, description["dataset"], channels, source) if stated else {}
    ending, count = _ending(folder, description, source), _files_of_a_case(folder, channels)
    tests, remarks = _test_files(folder, count, ending)
    if stated:  # which may name what lies in imagesTs too
        tests = {name: test for name, test in tests.items() if name not in files}
    else:
        files, left_out = _found_files(folder, "Tr", count, ending)
        remarks = left_out + remarks
    refuse_shared_cases(files, tests, folder, "imagesTr", "imagesTs")
    if not files and not tests:
        raise DataSetError(f"{folder}: no case in imagesTr and labelsTr; files such as CASE_0000.nii.gz are expected")
    return data_set_of(folder, channels, scheme_of(description, source), files | tests, f"nnU-Net {version}",
                       description=description, tests=frozenset(tests), remarks=remarks)  # fmt: skip


def _ending(folder: Path, description: Mapping[str, Any], source: Path) -> str:
    """Return the ending of files that may be missing: the one stated, or that of the files that are there."""
    stated = description.get("file_ending")
    if stated is None:
        there = data_files(folder / "imagesTr")
        return data_suffix(there[0].name) if there else SUFFIX
    ending = f".{stated}" if isinstance(stated, str) and not stated.startswith(".") else stated
    if not isinstance(ending, str) or not data_suffix(ending):
        raise DataSetError(
            f"{source}: 'file_ending' is {stated!r:.40}; one of {', '.join(data_suffixes())} is expected: convert the "
            "images"
        )
    return ending


def _files_of_a_case(folder: Path, channels: tuple[str, ...]) -> int:
    """Return how many files a case has: one per channel, or a single picture with all its colours."""
    images = [*data_files(folder / "imagesTr"), *data_files(folder / "imagesTs")]
    numbers = {match["channel"] for path in images if (match := NUMBERED.fullmatch(scan_stem(path)))}
    return 1 if images and is_picture(images[0]) and numbers <= {"0000"} else len(channels)


def _test_files(folder: Path, channels: int, ending: str) -> tuple[dict[str, CaseFiles], list[str]]:
    """Return the cases of imagesTs, where masks are there."""
    if data_files(folder / "labelsTs"):
        return _found_files(folder, "Ts", channels, ending)
    scans = data_files(folder / "imagesTs")
    if scans and (folder / "labelsTs").is_dir():
        return {}, [f"{folder / 'imagesTs'}: {counted(len(scans), 'file')} left out: no mask is in labelsTs"]
    return {}, []


def _found_files(folder: Path, subset: str, channels: int, ending: str) -> tuple[dict[str, CaseFiles], list[str]]:
    """Return every case that has an image or a mask; a missing file is noticed when the case is read.

    Raises:
        DataSetError: Two files are the same channel or mask of one case.
    """
    images, labels = folder / f"images{subset}", folder / f"labels{subset}"
    masks: dict[str, Path] = {}
    for path in data_files(labels):
        _put(masks, scan_stem(path), path)
    scans: dict[str, dict[int, Path]] = defaultdict(dict)
    remarks = []
    for path in data_files(images):
        case, channel = _case_and_channel(scan_stem(path), channels, set(masks))
        if channel is None:
            remarks.append(f"{path}: left out: not named CASE_0000{ending}, with a channel below {channels}")
        else:
            _put(scans[case], channel, path)
    return {
        name: CaseFiles(
            tuple(scans[name].get(channel, images / f"{name}_{channel:04d}{ending}") for channel in range(channels)),
            masks.get(name, labels / f"{name}{ending}"),
        )
        for name in sorted({*masks, *scans})
    }, remarks


def _case_and_channel(stem: str, channels: int, masks: set[str]) -> tuple[str, int | None]:
    """Return the case of an image and its channel, None where the name says no channel that there is."""
    match = NUMBERED.fullmatch(stem)
    numbered = (match["case"], int(match["channel"])) if match and int(match["channel"]) < channels else None
    if numbered and numbered[0] in masks:
        return numbered
    if channels == 1 and stem in masks:
        return stem, 0
    return numbered or (stem, None)


def _put(files: dict[Any, Path], key: object, path: Path) -> None:
    other = files.setdefault(key, path)
    if other != path:
        raise DataSetError(f"{path.parent}: {other.name} and {path.name} are the same file of one case; remove one")


def _stated_files(folder: Path, stated: object, channels: tuple[str, ...], source: Path) -> dict[str, CaseFiles]:
    """Return the files that `dataset` names, case by case (nnU-Net since 2.1).

    Raises:
        DataSetError: It is not a mapping of that form, or a path leads out of the folder.
    """
    files = {}
    for name, entry in stated.items() if isinstance(stated, dict) else [("", None)]:
        if not (isinstance(entry, dict) and isinstance(entry.get("images"), list) and "label" in entry):
            raise DataSetError(f"{source}: 'dataset' must be {EXPLICIT}")
        images = entry["images"]
        if len(images) != len(channels) and not (len(images) == 1 and is_picture(Path(str(images[0])))):
            expected = f"expected {len(channels)}"
            raise DataSetError(f"{source}: 'dataset' names {counted(len(images), 'image')} of case {name}, {expected}")
        paths = [inside(folder, path, source, "dataset") for path in (*images, entry["label"])]
        files[name] = CaseFiles(tuple(paths[:-1]), paths[-1])
    return files
