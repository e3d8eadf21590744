"""What is gathered of each slice while a scan is segmented: figures, certainty and, where asked for, probabilities."""

from __future__ import annotations

from threading import Lock

import numpy as np
from numpy.typing import NDArray

from embedded_vit.contract import Contract
from embedded_vit.io.nifti.write import PROBABILITY_STEPS
from embedded_vit.mask_figures import Certainty, FigureCollector
from embedded_vit.preprocessing import Grid, Intensities
from embedded_vit.volume import Mask, Scan

__all__ = ["ProbabilityMaps", "Watcher"]


class ProbabilityMaps:
    """The softmax probabilities of all structures on the scan's own grid, one byte per voxel; on the disk where it is.

    Logits are enlarged to the slice as for the mask, then the softmax is taken. Outside the field of view a structure
    has probability 0. Components that are removed from the mask keep theirs.

    Args:
        scan: The scan.
        orientation: In which the network sees slices.
        grid: Of the slices.
        structures: Their number.
    """

    def __init__(self, scan: Scan, orientation: str, grid: Grid, structures: int) -> None:
        self.maps: tuple[Mask, ...] = tuple(scan.empty_mask() for _ in range(structures))
        self._upright = [each.reoriented(orientation) for each in self.maps]  # views
        self._grid, self._lock = grid, Lock()

    def see(self, index: int, logits: NDArray[np.float32]) -> None:
        """Keep what a slice's output, (K, T, T), says of its structures; any thread may call this."""
        highest = self._enlarged(logits[0])
        sums = np.ones_like(highest)  # of exp(logit - highest)
        for plane in logits[1:]:  # one class after the other: there may be a hundred of them
            logit = self._enlarged(plane)
            above = np.maximum(logit, highest)
            sums = sums * np.exp(highest - above) + np.exp(logit - above)
            highest = above
        for upright, plane in zip(self._upright, logits[1:], strict=True):
            share = np.exp(self._enlarged(plane) - highest) / sums
            steps = self._grid.on_slice(np.rint(share * PROBABILITY_STEPS).astype(np.uint8))
            with self._lock:
                upright.put(index, steps)

    def _enlarged(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize (T, T) to the part of the slice that the network sees."""
        return self._grid.enlarge_rows.along_rows(self._grid.enlarge_columns.along_columns(plane))


class Watcher:
    """Gathers all of it; see `segmentation.SliceCollector`.

    Args:
        scan: The scan.
        contract: Of the network.
        probabilities: Whether to gather the probabilities of every voxel.
    """

    def __init__(self, scan: Scan, contract: Contract, *, probabilities: bool = False) -> None:
        preprocessing, classes = contract.preprocessing, contract.labels.classes
        upright = scan.reoriented(preprocessing.orientation)
        self.grid, self._labels = Grid.of(upright, preprocessing), contract.labels
        self.intensities = Intensities.of(upright, preprocessing)
        self.figures = None if contract.plausibility is None else FigureCollector(self.grid, preprocessing, classes)
        self.certainty = Certainty(classes) if self.figures is None else self.figures.certainty
        self.probabilities = (
            ProbabilityMaps(scan, preprocessing.orientation, self.grid, classes - 1) if probabilities else None
        )

    def see(self, index: int, image: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
        """Look at a slice's network input, (C, S, S), and output, (K, T, T); any thread may call this."""
        if self.figures is None:
            self.certainty.see(index, logits)
        else:
            self.figures.see(index, image, logits)
        if self.probabilities is not None:
            self.probabilities.see(index, logits)

    def put(self, index: int, labels: NDArray[np.uint8]) -> None:
        """Take a finished slice, (rows, columns)."""
        if self.figures is not None:
            self.figures.put(index, labels)

    def mean_probability(self, counts: NDArray[np.int64]) -> dict[str, float | None]:
        """Return structure -> mean probability; None where a mask of these counts, (256,), has none of it."""
        means = self.certainty.means()
        return {
            label.name: None if mean is None or not counts[label.id] else round(mean, 4)
            for label, mean in zip(self._labels.labels, means[1:], strict=True)
        }
