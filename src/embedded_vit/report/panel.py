"""One slice as every network of a report segments it, beside the true mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from embedded_vit.datasets.data_set import Case, DataSet
from embedded_vit.engines import ArtifactEngine, load
from embedded_vit.evaluation.pictures import png_data_uri, slice_dice
from embedded_vit.labels import LabelSet
from embedded_vit.overlay import overlay
from embedded_vit.predict.labelling import label_slice
from embedded_vit.preprocessing import Grid, Intensities, network_inputs
from embedded_vit.report.rows import ReportRow
from embedded_vit.volume import Volume

__all__ = ["Panel", "Picture", "slice_panel"]


@dataclass(frozen=True)
class Picture:
    """One picture of the panel; `address` holds its PNG."""

    title: str
    detail: str
    address: str


@dataclass(frozen=True)
class Panel:
    """The pictures of one slice; `aspect` is its width over its height in mm, as CSS takes it."""

    case: str
    slice_number: int
    aspect: str
    pixelated: bool
    labels: LabelSet
    pictures: tuple[Picture, ...]


def slice_panel(data_set: DataSet, case: Case, rows: Sequence[ReportRow], *, threads: int) -> Panel:
    """Segment one slice of a case with the artifact of every row.

    The slice is the one with the most structures in the true mask, and among these the one where they are largest.

    Args:
        data_set: The data set of the case.
        case: A case that is a test case of every row.
        rows: The rows; their artifacts take this kind of data.
        threads: CPU threads.
    """
    volume, truth_map = data_set.read_case(case)
    engines = [load(row.artifact, threads=threads) for row in rows]
    preprocessing = engines[0].manifest.preprocessing  # orientation and intensities are the same for all rows
    volume, truth_map = volume.reoriented(preprocessing.orientation), truth_map.reoriented(preprocessing.orientation)
    index = _fullest_slice(truth_map.array)
    truth = truth_map.array[index]
    intensities = Intensities.of(volume, preprocessing).normalise(volume.intensities(index))[0]
    # Rows run to the patient's left and columns to posterior: transposed, they run right and down.
    grey = np.rint(intensities.T * 255).astype(np.uint8)
    labels = data_set.labels
    pictures = [
        Picture("Slice", "", png_data_uri(grey)),
        Picture("Truth", "", png_data_uri(overlay(grey, truth.T, labels))),
    ]
    for number, (row, engine) in enumerate(zip(rows, engines, strict=True), 1):
        mask = _segment_slice(volume, index, engine)
        (dice,), _ = slice_dice(mask[None], truth[None], len(labels.labels))
        address = png_data_uri(overlay(grey, mask.T, labels))
        pictures.append(Picture(f"{number} {row.name}", f"Dice {dice:.3f} in this slice", address))
    _, row_mm, column_mm = volume.spacing_mm
    width_mm, height_mm = grey.shape[1] * row_mm, grey.shape[0] * column_mm
    return Panel(
        case=case.name,
        slice_number=index + 1,
        aspect=f"{width_mm / height_mm:.4f}",
        pixelated=max(grey.shape) < 200,
        labels=labels,
        pictures=tuple(pictures),
    )


def _fullest_slice(truth: NDArray[np.uint8]) -> int:
    """Return the slice of (slices, rows, columns) labels with the most structures, and among these with the largest."""
    return max(range(len(truth)), key=lambda index: (len(np.unique(truth[index])), np.count_nonzero(truth[index])))


def _segment_slice(volume: Volume, index: int, engine: ArtifactEngine) -> NDArray[np.uint8]:
    """Return the (rows, columns) labels of one slice of a volume in training orientation."""
    preprocessing = engine.manifest.preprocessing
    grid = Grid.of(volume, preprocessing)
    image = next(islice(network_inputs(volume, preprocessing, grid=grid), index, None))  # (C, S, S)
    return label_slice(engine.run(image[None])[0], grid)
