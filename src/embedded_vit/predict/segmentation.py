"""From a scan to a mask on the scan's own grid, slice by slice, whatever computes the logits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedded_vit.components import Components, Runs
from embedded_vit.predict.labelling import label_slice
from embedded_vit.preprocessing import Grid, Intensities, Preprocessing, network_inputs
from embedded_vit.volume import LabelMap, Mask, Scan, Volume

if TYPE_CHECKING:
    from embedded_vit.engines.engine import Engine

__all__ = ["fill_mask", "label_slices", "map_ahead", "segment"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def segment(
    volume: Volume,
    preprocessing: Preprocessing,
    engine: Engine,
    *,
    smallest_shares: Sequence[float] = (),
    on_slice: Callable[[], None] | None = None,
) -> LabelMap:
    """Segment a scan in any orientation.

    Beside the scan itself only the mask and a few slices are ever in memory.

    Args:
        volume: The scan, intensities in the unit that the preprocessing expects (HU for CT).
        preprocessing: The network's input contract.
        engine: Computes logits.
        smallest_shares: As `Components.islands` takes them; islands are removed where any of them is above 0.
        on_slice: Called after every slice, for a progress bar.

    Returns:
        The mask on the grid of `volume`: its orientation, its affine.
    """
    mask = volume.empty_mask()
    fill_mask(mask, volume, preprocessing, engine, smallest_shares=smallest_shares, on_slice=on_slice)
    return mask


def fill_mask(
    mask: Mask,
    scan: Scan,
    preprocessing: Preprocessing,
    engine: Engine,
    *,
    smallest_shares: Sequence[float] = (),
    on_slice: Callable[[], None] | None = None,
) -> None:
    """Segment a scan, in memory or on the disk, into its `empty_mask()`; further arguments as `segment`."""
    upright_scan = scan.reoriented(preprocessing.orientation)
    upright_mask = mask.reoriented(preprocessing.orientation)  # a view: what is put here lands in `mask`
    components = Components() if any(smallest_shares) else None
    for index, labels in enumerate(label_slices(upright_scan, preprocessing, engine)):
        upright_mask.put(index, labels)
        if components is not None:
            components.add(labels)
        if on_slice is not None:
            on_slice()
    if components is not None:
        _remove(upright_mask, components.islands(smallest_shares))


def _remove(mask: Mask, islands: Sequence[Runs]) -> None:
    """Make background of the runs of each slice."""
    for index, runs in enumerate(islands):
        if len(runs):
            labels = mask.get(index).copy()
            for row, begin, end, _ in runs:
                labels[row, begin:end] = 0
            mask.put(index, labels)


def label_slices(
    upright: Scan,
    preprocessing: Preprocessing,
    engine: Engine,
    *,
    intensities: Intensities | None = None,
    grid: Grid | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Segment a scan in training orientation; yields (rows, columns) uint8 for every slice, upwards.

    Args:
        upright: The scan.
        preprocessing, engine: As `segment` takes them; an engine of several streams gets as many slices at a time,
            while the next ones are read.
        intensities, grid: The scan's, where they are there already.
    """
    grid = grid or Grid.of(upright, preprocessing)

    def labels_of(image: NDArray[np.float32]) -> NDArray[np.uint8]:
        return label_slice(engine.run(image[None])[0], grid)

    images = network_inputs(upright, preprocessing, intensities=intensities, grid=grid)
    yield from map(labels_of, images) if engine.streams == 1 else map_ahead(labels_of, images, workers=engine.streams)


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """`map` with so many calls at the same time; one item a worker waits, so that none has to wait for an item."""
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also where a call failed, or nobody wants the rest
        pool.shutdown(cancel_futures=True)
