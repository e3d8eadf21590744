"""From a scan to a mask on its own grid, slice by slice, with any engine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from embedded_vit.contract import Contract
from embedded_vit.postprocessing import Components, remove_small_components
from embedded_vit.predict.labelling import label_slice
from embedded_vit.preprocessing import Grid, Intensities, Preprocessing, network_inputs
from embedded_vit.volume import LabelMap, Mask, Scan, Volume

if TYPE_CHECKING:
    from embedded_vit.engines import Engine

__all__ = ["OnSlice", "SliceCollector", "label_slices", "map_ahead", "segment"]

Item = TypeVar("Item")
Result = TypeVar("Result")
OnSlice = Callable[[], None]


class SliceCollector(Protocol):
    """What gathers something of every slice while a scan is segmented, and may know its intensities already."""

    grid: Grid

    @property
    def intensities(self) -> Intensities | None:
        """Those of the scan; None where they are not known here."""

    def see(self, index: int, image: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
        """Look at a slice's network input, (C, S, S), and output, (K, T, T); any thread may call this."""

    def put(self, index: int, labels: NDArray[np.uint8]) -> None:
        """Take a finished slice, (rows, columns); a slice that changes later is put again."""


Collector: TypeAlias = SliceCollector | None


@overload
def segment(
    scan: Volume, contract: Contract, engine: Engine, *, on_slice: OnSlice | None = None, collector: Collector = None
) -> LabelMap: ...
@overload
def segment(
    scan: Scan, contract: Contract, engine: Engine, *, on_slice: OnSlice | None = None, collector: Collector = None
) -> Mask: ...


def segment(
    scan: Scan, contract: Contract, engine: Engine, *, on_slice: OnSlice | None = None, collector: Collector = None
) -> Mask:
    """Segment a scan in any orientation, and remove small components as the contract says.

    Besides the scan itself only the mask and a few slices are in memory.

    Args:
        scan: A scan in memory or on the disk, with intensities in the unit of the contract (HU for CT).
        contract: The contract of the network that `engine` computes.
        engine: The engine that computes logits.
        on_slice: Called after every slice, for a progress bar.
        collector: Gathers something of every slice while the mask is made.

    Returns:
        The mask on the grid of `scan`, with its orientation and affine; on the disk where the scan is.
    """
    mask = scan.empty_mask()
    upright_scan = scan.reoriented(contract.preprocessing.orientation)
    upright_mask = mask.reoriented(contract.preprocessing.orientation)  # a view of `mask`
    components = Components() if any(contract.smallest_shares) else None
    for index, labels in enumerate(label_slices(upright_scan, contract.preprocessing, engine, collector=collector)):
        upright_mask.put(index, labels)
        if components is not None:
            components.add(labels)
        if collector is not None:
            collector.put(index, labels)
        if on_slice is not None:
            on_slice()
    if components is not None:
        for index in remove_small_components(upright_mask, components, contract.smallest_shares):
            if collector is not None:
                collector.put(index, upright_mask.get(index))
    return mask


def label_slices(
    upright: Scan,
    preprocessing: Preprocessing,
    engine: Engine,
    *,
    intensities: Intensities | None = None,
    grid: Grid | None = None,
    collector: Collector = None,
) -> Iterator[NDArray[np.uint8]]:
    """Segment a scan in training orientation, slice by slice.

    Args:
        upright: The scan.
        preprocessing: The preprocessing of the network that `engine` computes.
        engine: The engine that computes logits. An engine of several streams gets as many slices at a time.
        intensities, grid: Those of the scan, if they exist already.
        collector: Sees the network's input and output of every slice.

    Yields:
        (rows, columns) uint8 for every slice, upwards.
    """
    grid = grid or (collector.grid if collector else Grid.of(upright, preprocessing))
    intensities = intensities or (collector.intensities if collector else None)

    def labels_of(numbered: tuple[int, NDArray[np.float32]]) -> NDArray[np.uint8]:
        index, image = numbered
        logits = engine.run(image[None])[0]
        if collector is not None:
            collector.see(index, image, logits)
        return label_slice(logits, grid)

    images = enumerate(network_inputs(upright, preprocessing, intensities=intensities, grid=grid))
    yield from map(labels_of, images) if engine.streams == 1 else map_ahead(labels_of, images, workers=engine.streams)


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """Map a function over items, in order, with `workers` calls at a time.

    Items are taken ahead of the calls, one for each worker, so that no worker waits for an item.
    """
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also where a call failed, or the caller stopped early
        pool.shutdown(cancel_futures=True)
