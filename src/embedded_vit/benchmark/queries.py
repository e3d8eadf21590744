"""The queries of a benchmark: the network alone, a whole slice, or a whole scan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedded_vit.artifact.manifest import Manifest
from embedded_vit.engines import ArtifactEngine, example_image
from embedded_vit.engines.single_stream import Query
from embedded_vit.predict.segmentation import label_slices, segment
from embedded_vit.preprocessing import Grid, Intensities
from embedded_vit.volume import Volume

__all__ = [
    "STREAMED_SLICES",
    "Scope",
    "Workload",
    "generated_scan",
    "make_workload",
    "scan_of_data_set",
]

Scope = Literal["network", "slice", "volume"]

SLICE_PIXELS = 512  # rows and columns of a generated scan
SLICES = 64  # of a generated scan
STREAMED_SLICES = 16  # slices that the scope "slice" repeats


@dataclass(frozen=True)
class Workload:
    """The queries of one model.

    Attributes:
        query: A function that answers one query per call.
        samples: Number of different inputs, which the queries take in turns.
        warmup: Number of first queries that are not measured.
    """

    query: Query
    samples: int
    warmup: int


def make_workload(scope: Scope, engine: ArtifactEngine, scan: Volume | None) -> Workload:
    """Prepare the queries of a scope.

    Args:
        scope: "network" is `engine.run` alone; "slice" goes from stored intensities to labels on the scan's grid;
            "volume" segments the scan.
        engine: The model.
        scan: A scan with the model's channels; None for "network".
    """
    if scan is None or scope == "network":
        return Workload(partial(engine.run, example_image(engine.manifest.preprocessing)), samples=1, warmup=10)
    if scope == "volume":
        return Workload(partial(segment, scan, engine.manifest.contract, engine), samples=1, warmup=1)
    middle = _middle_slices(scan.reoriented(engine.manifest.preprocessing.orientation))
    labelled = _labelled_slices(middle, engine)
    slices, _, _ = middle.shape
    return Workload(partial(next, labelled), samples=slices, warmup=slices)


def _middle_slices(upright: Volume) -> Volume:
    """Return up to `STREAMED_SLICES` slices from the middle of a scan in training orientation."""
    first = max(0, upright.shape[0] - STREAMED_SLICES) // 2
    return replace(upright, array=np.ascontiguousarray(upright.array[:, first : first + STREAMED_SLICES]))


def _labelled_slices(upright: Volume, engine: ArtifactEngine) -> Iterator[NDArray[np.uint8]]:
    """Segment slice after slice as `segment` does, and start again after the last one, without end.

    The work that prediction does once per scan is done before: resizing matrices, and the percentiles of an MR scan.
    """
    preprocessing = engine.manifest.preprocessing
    grid, intensities = Grid.of(upright, preprocessing), Intensities.of(upright, preprocessing)
    while True:
        yield from label_slices(upright, preprocessing, engine, intensities=intensities, grid=grid)


def generated_scan(manifest: Manifest) -> tuple[Volume, str]:
    """Generate a phantom scan with the model's number of channels; return it with a description."""
    from embedded_vit.datasets.phantom import PhantomSettings, make_phantom

    scan, _ = make_phantom(0, settings=PhantomSettings(size=SLICE_PIXELS, slices=SLICES))
    channels = len(manifest.preprocessing.channels)
    array = np.repeat(scan.array, channels, axis=0)
    return replace(scan, array=array), f"a generated scan, {_measures(array)}"


def scan_of_data_set(model: Path, folder: Path) -> tuple[Volume, str]:
    """Read the first test scan of a data set for a model; return it with a description.

    Raises:
        DataSetError: The data set does not fit the model, or has no case to test on.
        FileFormatError: The scan or the model cannot be read.
    """
    from embedded_vit.datasets import open_data_set_like
    from embedded_vit.evaluation.evaluated_model import open_model

    evaluated = open_model(model, threads=1)
    data_set = open_data_set_like(folder, evaluated.contract.labels.names)
    evaluated.check_fits(data_set)
    case, _ = evaluated.choose(data_set, "test").cases[0]
    scan = data_set.read_volume(case)
    return scan, f"the first test case of {data_set.name}, {_measures(scan.array)}"


def _measures(array: NDArray[np.generic]) -> str:
    channels, slices, rows, columns = array.shape
    each = "" if channels == 1 else f"{channels} channels of "
    return f"{each}{slices} x {rows} x {columns} {array.dtype}"
