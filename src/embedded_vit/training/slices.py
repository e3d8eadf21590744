"""Training slices: every labelled slice is resampled to the network's grid once and kept on disk.

    cache/images.f16    (slices, channels, S, S) float16 in [-1, 1]
    cache/labels.u8     (slices, S, S) uint8
    cache/index.json    which slice belongs to which case, and the fingerprint of all of it

Written in one pass, memory-mapped afterwards, so that a data set may be larger than memory; slice context is put
together when a batch is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedded_vit.datasets.data_set import DataSet
from embedded_vit.errors import DataSetError, FileFormatError
from embedded_vit.grids import grid_problem
from embedded_vit.io.atomic import atomic_path, write_text
from embedded_vit.io.json_file import read_json_object
from embedded_vit.preprocessing import Grid, Preprocessing, network_inputs

__all__ = ["SliceSet", "prepare_slices"]

PREPARE_AGAIN = "delete this file or folder of prepared slices; they are then prepared again"


@dataclass(frozen=True, eq=False)
class SliceSet:
    """Slices on the network's grid.

    Attributes:
        images: (slices, channels, S, S) float16 in [-1, 1].
        labels: (slices, S, S) uint8.
        case_names: The name of each case, in order.
        case_of: (slices,) int, index into `case_names`; the slices of a case follow each other upwards.
        fingerprint: SHA-256 over images and labels.
    """

    images: NDArray[np.float16]
    labels: NDArray[np.uint8]
    case_names: tuple[str, ...]
    case_of: NDArray[np.int64]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.case_of)

    def indices_of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the indices of the named cases' slices, in order."""
        wanted = np.isin(np.array(self.case_names), list(names))
        return np.flatnonzero(wanted[self.case_of])

    def masks_of(self, names: Sequence[str]) -> Iterator[Iterator[NDArray[np.uint8]]]:
        """Yield for each named case its label slices, (S, S) uint8, upwards."""
        for name in names:
            yield (self.labels[index] for index in self.indices_of([name]))

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
    """Resample the slices of the named cases to the network's grid, or open them if `folder` holds them already.

    Args:
        data_set: Where the cases are.
        names: Cases to prepare.
        preprocessing: The input contract; context is left to `SliceSet.batch`.
        folder: Where the three files go.
        labelled: Whether masks without any structure are an error.
        on_case: Called after each case.

    Raises:
        DataSetError: No slice has a label although `labelled` is true.
        FileFormatError: A case cannot be read, or the prepared slices are damaged.
    """
    single = preprocessing.model_copy(update={"context_slices": 1})
    key = {
        "data": str(data_set.folder.resolve()),
        "cases": list(names),
        "preprocessing": single.model_dump(mode="json"),
    }
    index_path = folder / "index.json"
    if index_path.exists():
        index = read_json_object(index_path, FileFormatError, hint=PREPARE_AGAIN)
        if index.get("key") == key:
            return _open(folder, index)
    index_path.unlink(missing_ok=True)
    counts, fingerprint = _write(data_set, names, single, folder, labelled, on_case)
    index = {
        "key": key,
        "counts": counts,
        "channels": len(single.channels),
        "image_size": single.image_size,
        "fingerprint": fingerprint,
    }
    write_text(index_path, json.dumps(index, indent=1))
    return _open(folder, index)


def _write(
    data_set: DataSet,
    names: Sequence[str],
    preprocessing: Preprocessing,
    folder: Path,
    labelled: bool,
    on_case: Callable[[str], None],
) -> tuple[list[int], str]:
    """Write images and labels case by case; return the number of slices of each case, and the fingerprint of all."""
    counts, digest, any_label = [], hashlib.sha256(), False
    with (
        atomic_path(folder / "images.f16", overwrite=True) as images_path,
        atomic_path(folder / "labels.u8", overwrite=True) as labels_path,
        open(images_path, "wb") as images_file,
        open(labels_path, "wb") as labels_file,
    ):
        for name in names:
            case = data_set.case(name)
            volume, label_map = data_set.read_volume(case).reoriented(), data_set.read_labels(case).reoriented()
            if problem := grid_problem(volume, label_map):
                raise DataSetError(f"{data_set.folder}: case {name}: {problem}; repair it or remove the case")
            grid = Grid.of(volume, preprocessing)
            for image, mask in zip(network_inputs(volume, preprocessing, grid=grid), label_map.array, strict=True):
                reduced = grid.reduce_labels(mask, data_set.labels.classes)
                any_label = any_label or bool(reduced.any())
                for file, data in ((images_file, image.astype(np.float16).tobytes()), (labels_file, reduced.tobytes())):
                    file.write(data)
                    digest.update(data)
            counts.append(volume.shape[0])
            on_case(name)
        if labelled and not any_label:
            raise DataSetError(f"{data_set.folder}: no labels at all in {len(names)} cases; nothing to learn")
    return counts, digest.hexdigest()


def _open(folder: Path, index: dict) -> SliceSet:
    try:
        total, size = sum(index["counts"]), index["image_size"]
        images = np.memmap(folder / "images.f16", np.float16, "r", shape=(total, index["channels"], size, size))
        labels = np.memmap(folder / "labels.u8", np.uint8, "r", shape=(total, size, size))
        case_of = np.repeat(np.arange(len(index["counts"])), index["counts"])
        return SliceSet(images, labels, tuple(index["key"]["cases"]), case_of, index["fingerprint"])
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise FileFormatError(f"{folder}: damaged: {str(error)[:100]}; {PREPARE_AGAIN}") from error
