"""Training slices: every labelled slice is resampled to the network's grid once and kept on disk.

    cache/images.f16    (slices, channels, S, S) float16 in [-1, 1]
    cache/labels.u8     (slices, S, S) uint8
    cache/index.json    which slice belongs to which case, the fingerprint of all of it, and what it was made from

Written in one pass, memory-mapped afterwards, so that a data set may be larger than memory; slice context is put
together when a batch is. Slices are used again only while the files that they were made from have the same content, and
labels and preprocessing are the same; otherwise they are prepared anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedded_vit.about import __version__
from embedded_vit.counted import counted
from embedded_vit.datasets.data_set import DataSet
from embedded_vit.datasets.identity import FileStamp, case_contents, file_stamps
from embedded_vit.errors import ConfigError, DataSetError, OutputError
from embedded_vit.fingerprint import brightness, sampled
from embedded_vit.io.atomic import atomic_path, sweep_tree, write_text
from embedded_vit.labels import IGNORED
from embedded_vit.preprocessing import Grid, Preprocessing, network_inputs
from embedded_vit.training.partial_labels import PartialSets, background_code, partial_sets

__all__ = ["SliceSet", "prepare_slices", "remove_slices"]

IMAGES, LABELS, INDEX = "images.f16", "labels.u8", "index.json"


@dataclass(frozen=True, eq=False)
class SliceSet:
    """Slices on the network's grid.

    Attributes:
        images: (slices, channels, S, S) float16 in [-1, 1].
        labels: (slices, S, S) uint8.
        case_names: The name of each case, in order.
        case_of: (slices,) int, index into `case_names`; the slices of a case follow each other upwards.
        fingerprint: SHA-256 over images and labels.
        contents: Case name -> digest of the files that its slices were made from, see `datasets.identity`.
        classes: Labels from this number up are codes of what a pixel may be, see `partial_labels`.
    """

    images: NDArray[np.float16]
    labels: NDArray[np.uint8]
    case_names: tuple[str, ...]
    case_of: NDArray[np.int64]
    fingerprint: str
    contents: Mapping[str, str] = field(default_factory=dict)
    classes: int = IGNORED + 1

    def __len__(self) -> int:
        return len(self.case_of)

    def indices_of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the indices of the named cases' slices, in order."""
        wanted = np.isin(np.array(self.case_names), list(names))
        return np.flatnonzero(wanted[self.case_of])

    def masks_of(self, names: Sequence[str]) -> Iterator[Iterator[NDArray[np.uint8]]]:
        """Yield for each named case its label slices, (S, S) uint8, upwards."""
        for name in names:
            yield (self._certain(self.labels[index]) for index in self.indices_of([name]))

    def with_structure(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which slices (N,) show a structure, (N,)."""
        return np.asarray(self._certain(self.labels[indices]).any(axis=(1, 2)), np.bool_)

    def _certain(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return labels with background in place of codes."""
        return labels if self.classes > IGNORED else np.where(labels < self.classes, labels, np.uint8(0))

    def brightness_of(self, names: Sequence[str]) -> Iterator[NDArray[np.float64]]:
        """Yield the brightness of each named case, as `embedded_vit.fingerprint` measures it."""
        for name in names:
            indices = self.indices_of([name])
            yield brightness(self.images[indices[sampled(len(indices))]])

    def batch(self, indices: NDArray[np.int64], context_slices: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Assemble a batch.

        Args:
            indices: (B,) slices.
            context_slices: 1 or 3: this slice, or (previous, this, next) within its case.

        Returns:
            Images (B, context_slices * channels, S, S) float32 and labels (B, S, S) int64.
        """
        images = [self.images[neighbours] for neighbours in self.neighbours(indices, context_slices)]
        return np.concatenate(images, axis=1).astype(np.float32), self.labels[indices].astype(np.int64)

    def neighbours(self, indices: NDArray[np.int64], context_slices: int) -> NDArray[np.int64]:
        """Return the context of slices (B,): (context_slices, B), lowest first; an end slice is its own neighbour."""
        reach = context_slices // 2
        near = np.clip(indices + np.arange(-reach, reach + 1)[:, None], 0, len(self) - 1)
        return np.where(self.case_of[near] == self.case_of[indices], near, indices)

    def tensors(
        self, indices: NDArray[np.int64], *, context_slices: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Return a `batch` as tensors on a device."""
        images, labels = self.batch(indices, context_slices)
        return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)


def prepare_slices(
    data_set: DataSet,
    names: Sequence[str],
    preprocessing: Preprocessing,
    folder: Path,
    *,
    labelled: bool = True,
    on_case: Callable[[str], None] = lambda name: None,
) -> SliceSet:
    """Resample the slices of the named cases to the network's grid, or open them if `folder` holds these slices.

    Args:
        data_set: Where the cases are.
        names: Cases to prepare.
        preprocessing: The input contract; context is left to `SliceSet.batch`.
        folder: Where the three files go.
        labelled: Whether masks without any structure are an error.
        on_case: Called after each case.

    Raises:
        DataSetError: No slice has a label although `labelled` is true.
        FileFormatError: A case cannot be read.
        OutputError: The folder cannot be written.
    """
    single = preprocessing.model_copy(update={"context_slices": 1})
    before = _read_index(folder)
    stamps = file_stamps(data_set, names, _stamps_of(before))
    key = {
        "version": __version__,
        "preprocessing": single.model_dump(mode="json"),
        "contents": case_contents(data_set, names, stamps),
    }
    if before.get("key") == key and all(data_set.files_of(data_set.case(name)) for name in names):
        slices = _open(folder, before)
        if slices is not None:
            return slices
    _remove(folder / INDEX)
    sweep_tree(folder)
    sets = partial_sets(data_set)
    counts, fingerprint = _write(data_set, names, single, folder, labelled, on_case, sets)
    index: dict[str, Any] = {
        "key": key,
        "counts": counts,
        "channels": len(single.channels),
        "image_size": single.image_size,
        "fingerprint": fingerprint,
        "classes": data_set.labels.classes if sets else IGNORED + 1,
        "files": {path: stamp.model_dump() for path, stamp in stamps.items()},
    }
    write_text(folder / INDEX, json.dumps(index, indent=1))
    slices = _open(folder, index)
    if slices is None:
        raise OutputError(f"{folder}: the prepared slices are not as they were written; another program changed them")
    return slices


def remove_slices(folder: Path) -> None:
    """Delete prepared slices, the index first, so that what is left by a kill is prepared anew."""
    _remove(folder / INDEX)
    shutil.rmtree(folder, ignore_errors=True)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed: {error.strerror or error}") from error


def _write(
    data_set: DataSet,
    names: Sequence[str],
    preprocessing: Preprocessing,
    folder: Path,
    labelled: bool,
    on_case: Callable[[str], None],
    sets: PartialSets,
) -> tuple[list[int], str]:
    """Write images and labels case by case; return the number of slices of each case, and the fingerprint of all."""
    counts, digest, any_label = [], hashlib.sha256(), False
    classes = data_set.labels.classes
    numbers = IGNORED + 1 if data_set.ignores else classes
    with (
        atomic_path(folder / IMAGES, overwrite=True) as images_path,
        atomic_path(folder / LABELS, overwrite=True) as labels_path,
        open(images_path, "wb") as images_file,
        open(labels_path, "wb") as labels_file,
    ):
        for name in names:
            case = data_set.case(name)
            as_stored, stored_mask = data_set.read_case(case)
            codes = preprocessing.orientation
            volume, label_map = as_stored.reoriented(codes), stored_mask.reoriented(codes)
            grid, background = Grid.of(volume, preprocessing), background_code(case, sets)
            for image, mask in zip(network_inputs(volume, preprocessing, grid=grid), label_map.array, strict=True):
                reduced = grid.reduce_labels(mask, numbers)
                any_label = any_label or bool((reduced[reduced < classes]).any())
                if background:
                    reduced[reduced == 0] = background
                for file, data in ((images_file, image.astype(np.float16).tobytes()), (labels_file, reduced.tobytes())):
                    file.write(data)
                    digest.update(data)
            counts.append(volume.shape[0])
            on_case(name)
        if labelled and not any_label:
            raise DataSetError(
                f"{data_set.folder}: no labels at all in {counted(len(names), 'case')}; nothing to learn"
            )
    return counts, digest.hexdigest()


def _read_index(folder: Path) -> dict[str, Any]:
    """Read the index of prepared slices; an empty one where there is none, or it is damaged."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return index if isinstance(index, dict) else {}


def _stamps_of(index: Mapping[str, Any]) -> dict[str, FileStamp]:
    stored = index.get("files")
    if not isinstance(stored, dict):
        return {}
    try:
        return {path: FileStamp.parse(stamp, source=INDEX) for path, stamp in stored.items()}
    except ConfigError:
        return {}


def _open(folder: Path, index: Mapping[str, Any]) -> SliceSet | None:
    """Open prepared slices; None where a file is missing or has another size than the index says."""
    try:
        contents, counts = index["key"]["contents"], index["counts"]
        channels, size, fingerprint = int(index["channels"]), int(index["image_size"]), str(index["fingerprint"])
        case_of = np.repeat(np.arange(len(contents)), counts)
        shape = (len(case_of), channels, size, size)
        expected = {IMAGES: 2 * int(np.prod(shape)), LABELS: len(case_of) * size * size}
        if any((folder / name).stat().st_size != length for name, length in expected.items()):
            return None
        images = np.memmap(folder / IMAGES, np.float16, "r", shape=shape)
        labels = np.memmap(folder / LABELS, np.uint8, "r", shape=(len(case_of), size, size))
    except (OSError, LookupError, TypeError, ValueError):
        return None
    classes = int(index.get("classes", IGNORED + 1))
    return SliceSet(images, labels, tuple(contents), case_of, fingerprint, contents, classes)
