"""A scan of several channels in as many files: which file is which channel, and all of them as one scan.

nnU-Net numbers the files of a case, `chest_0000.nii.gz` and `chest_0001.nii.gz`. Others name them, `chest_T1.nii.gz`
and `chest_T2.nii.gz`. Both are understood, so that channels in another order are not taken for each other.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from embedded_vit.counted import counted
from embedded_vit.errors import ContractError, FileFormatError
from embedded_vit.grids import grid_problem, laid_on
from embedded_vit.io.base import ScanSource
from embedded_vit.io.nifti.geometry import NiftiGeometry
from embedded_vit.io.spool import SpooledVolume
from embedded_vit.volume import TRAINING_ORIENTATION, Scan, Volume

__all__ = ["ChannelFiles", "FoundScan", "channel_files", "found_scans", "join_channels"]

NUMBERED = re.compile(r"(.+)_(\d{4})")  # nnU-Net's names of files: CASE_0000, a number a channel


@dataclass(frozen=True)
class FoundScan:
    """A scan that a search came across.

    Attributes:
        place: Its file or folder; of several files the first.
        files: What is opened together: one file per channel, or the folders of one series.
        name: What its mask is called, without suffix.
    """

    place: Path
    files: tuple[Path, ...]
    name: str


class ChannelFiles(ScanSource):
    """NIfTI files of one channel each, on one grid, as one scan."""

    format: ClassVar[str] = "NIfTI"

    def __init__(self, sources: Sequence[ScanSource]) -> None:
        self._sources = sources
        self.source = sources[0].source
        self.channels = len(sources)
        self.modality = sources[0].modality
        self.remarks = tuple(remark for source in sources for remark in source.remarks)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Length of the three array axes of the first file."""
        return self._sources[0].shape

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64, array index -> RAS+ mm, of the first file."""
        return self._sources[0].affine

    @property
    def geometry(self) -> NiftiGeometry:
        """The geometry of the first file."""
        return self._sources[0].geometry

    @property
    def volume_bytes(self) -> int:
        """Memory that the voxels take when `read` has read them; twice, as they are put together."""
        return 2 * sum(source.volume_bytes for source in self._sources)

    def read(self) -> Volume:
        """Read all files; see `join_channels`."""
        return join_channels([source.read() for source in self._sources])

    def spool(self, folder: Path | None = None, *, orientation: str = TRAINING_ORIENTATION) -> Scan:
        """Read all files onto the disk; they must have one axis order and be stored alike."""
        first, *others = [source.spool(folder, orientation=orientation) for source in self._sources]
        if not isinstance(first, SpooledVolume):
            raise FileFormatError(f"{self.source}: cannot be segmented from the disk; allow more memory")
        spools = [*first.spools]
        for other in others:
            if problem := grid_problem(first, other):
                raise FileFormatError(f"{other.source}: {problem}; resample it, or allow more memory (--memory)")
            scaling = (first.slope, first.intercept, first.spools[0].dtype)
            if not isinstance(other, SpooledVolume) or scaling != (other.slope, other.intercept, other.spools[0].dtype):
                raise FileFormatError(f"{other.source}: stored in another way than {first.source}; allow more memory")
            spools += other.spools
        return replace(first, spools=tuple(spools))

    def sha256(self) -> str:
        """Return the SHA-256 of the files' digests, in the order of the channels."""
        return hashlib.sha256("".join(str(source.sha256()) for source in self._sources).encode()).hexdigest()

    def close(self) -> None:
        """Close all files."""
        for source in self._sources:
            source.close()


def join_channels(volumes: Sequence[Volume]) -> Volume:
    """Put scans of one channel each on a common first axis, on the grid of the first.

    Args:
        volumes: At least one; at one place, their axes in any order and direction.

    Returns:
        (channels, *shape of the first), in stored numbers where all are stored alike, else intensities in float32.

    Raises:
        FileFormatError: One lies on another grid than the first.
    """
    first, *others = volumes
    alike = [first, *(laid_on(other, first) for other in others)]
    if len({(volume.array.dtype, volume.slope, volume.intercept) for volume in alike}) == 1:
        array = np.concatenate([volume.array for volume in alike])
        return Volume(array, first.affine, first.slope, first.intercept, source=first.source)
    scaled = [volume.array.astype(np.float32) * volume.slope + volume.intercept for volume in alike]
    return Volume(np.concatenate(scaled).astype(np.float32, copy=False), first.affine, source=first.source)


def channel_files(paths: Sequence[Path], names: Sequence[str], stem_of: dict[Path, str]) -> tuple[Path, ...]:
    """Return the files of a case in the order of the channels, by their names where these tell it.

    Args:
        paths: The files as they were given, one per channel.
        names: The channels' names, in order.
        stem_of: The name of each file without the suffix of its format.

    Raises:
        ContractError: There are more or fewer files than channels, or a name stands for two files.
    """
    if len(paths) != len(names):
        raise ContractError(
            f"{paths[0]}: {len(paths)} files, this artifact takes {counted(len(names), 'channel')}: "
            f"{', '.join(names)}; give one file for each"
        )
    matches = [NUMBERED.fullmatch(stem_of[path]) for path in paths]
    if all(matches) and len({match[1] for match in matches if match}) == 1:
        numbers = [int(match[2]) for match in matches if match]
        if sorted(numbers) == list(range(len(names))):
            return tuple(path for _, path in sorted(zip(numbers, paths, strict=True)))
        raise ContractError(
            f"{paths[0]}: the files are numbered {numbers}, expected 0 to {len(names) - 1}; one per channel"
        )
    named = {path: [name for name in names if _ends_with(stem_of[path], name)] for path in paths}
    if any(named.values()):
        of_channel = {found[0]: path for path, found in named.items() if len(found) == 1}
        if set(of_channel) != set(names):
            raise ContractError(
                f"{paths[0]}: the names of the files do not tell which is which of {', '.join(names)}; let each end in "
                "its channel's name, or in _0000, _0001, ..."
            )
        return tuple(of_channel[name] for name in names)
    return tuple(paths)


def found_scans(paths: Iterable[Path], names: Sequence[str], stem_of: dict[Path, str]) -> list[FoundScan]:
    """Put the files of one folder together to scans.

    Args:
        paths: Files, by name.
        names: The channels that the network takes.
        stem_of: As `channel_files`.
    """
    cases: dict[str, dict[str, Path]] = defaultdict(dict)
    single: list[Path] = []
    for path in paths:
        case, channel = _case_and_channel(stem_of[path], names)
        if not channel or channel in cases[case]:  # as of case_0000.nii and case_0000.nii.gz
            single.append(path)
        else:
            cases[case][channel] = path
    found = []
    for case, files in cases.items():
        order = _order(files.keys(), names)
        if order:
            chosen = tuple(files[channel] for channel in order)
            found.append(FoundScan(chosen[0], chosen, case))
        single += [path for channel, path in files.items() if channel not in order]
    found += [FoundScan(path, (path,), stem_of[path]) for path in single]
    return sorted(found, key=lambda scan: scan.place.name)


def _order(channels: Collection[str], names: Sequence[str]) -> list[str]:
    """Return the channels of a case that make a scan, in order; empty where its files are scans of their own."""
    numbers = [f"{number:04d}" for number in range(len(names))]
    if len(names) == 1:
        return numbers if set(channels) == set(numbers) else []
    for order in (numbers, list(names)):
        there = [channel for channel in order if channel in channels]
        if len(there) > 1:
            return there
    return []


def _case_and_channel(stem: str, names: Sequence[str]) -> tuple[str, str]:
    """Return the case of a file and its channel, "" where its name says none."""
    if match := NUMBERED.fullmatch(stem):
        return match[1], match[2]
    if len(names) > 1:
        for name in names:
            if _ends_with(stem, name):
                return stem[: -len(name) - 1], name
    return stem, ""


def _ends_with(stem: str, name: str) -> bool:
    return stem.casefold().endswith(f"_{name.casefold()}") and len(stem) > len(name) + 1
