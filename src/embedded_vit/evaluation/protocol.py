"""The two evaluation protocols: how a scan is segmented, and how a predicted mask is scored.

`strict` segments as prediction does and measures in millimetres; a structure that is absent from both masks does not
count. `transunet` is the convention of TransUNet's published test script, for comparison with published tables.
`docs/metrics.md` compares the two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedded_vit.contract import Contract
from embedded_vit.engines import Engine
from embedded_vit.errors import DataSetError
from embedded_vit.evaluation.metrics import Comparison, compare_masks
from embedded_vit.grids import grid_problem
from embedded_vit.predict.segmentation import OnSlice, segment
from embedded_vit.preprocessing import Grid, network_inputs
from embedded_vit.volume import LabelMap, Volume

__all__ = [
    "FILED_METRICS",
    "METRICS",
    "PROTOCOLS",
    "Protocol",
    "ProtocolName",
    "Score",
    "StrictProtocol",
    "TransUnetProtocol",
    "Unit",
]

ProtocolName = Literal["strict", "transunet"]
Unit = Literal["mm", "voxels", "pixels"]  # of lengths

METRICS = ("dice", "jaccard", "hd95", "nsd")
FILED_METRICS = (*METRICS, "nsd_by_area")  # in the files; the tables show those above
NSD_TOLERANCE = 2.0  # mm, or voxels where no spacing is known


@dataclass(frozen=True)
class Score:
    """The scores of one structure in one case.

    Attributes:
        dice, jaccard, nsd, nsd_by_area: In [0, 1]; None where the structure is excluded.
        hd95: In mm or voxels, see `Protocol.unit`; None where the structure is excluded.
        missed: A missed structure: in the truth, not in the prediction.
        hallucinated: A false positive: in the prediction, not in the truth.
        absent: Neither in the truth nor in the prediction, and therefore excluded.
    """

    dice: float | None
    jaccard: float | None
    hd95: float | None
    nsd: float | None
    missed: bool = False
    hallucinated: bool = False
    nsd_by_area: float | None = None
    absent: bool = False

    @property
    def excluded(self) -> bool:
        """Whether the structure is left out of all means."""
        return self.dice is None


class Protocol(ABC):
    """The base of the protocols: how a scan is segmented, and how a predicted mask is scored."""

    name: ProtocolName
    description: str  # one sentence for reports

    @abstractmethod
    def segment(self, scan: Volume, contract: Contract, engine: Engine, *, on_slice: OnSlice | None = None) -> LabelMap:
        """Segment a scan on its own grid; arguments as `embedded_vit.predict.segmentation.segment`."""

    @abstractmethod
    def spacing(self, truth: LabelMap) -> tuple[float, float, float]:
        """Return the distances between neighbouring slices, rows and columns, in the unit of lengths."""

    @abstractmethod
    def unit(self, truth: LabelMap) -> Unit:
        """Return the unit of HD95 and of the NSD's tolerance."""

    @abstractmethod
    def score_incomplete(self, comparison: Comparison, diagonal: float) -> tuple[float, float] | None:
        """Return the Dice and the HD95 of a pair with an empty mask, or None if it is excluded.

        Args:
            comparison: The comparison of two masks, of which one or both are empty.
            diagonal: The diagonal of the scan, in the unit of lengths.
        """

    def score(self, prediction: LabelMap, truth: LabelMap, *, labels: int, threads: int = 2) -> tuple[Score, ...]:
        """Score every structure of a case.

        Args:
            prediction, truth: Masks on one grid.
            labels: The number of structures; they are numbered from 1.
            threads: Structures compared at the same time.

        Raises:
            DataSetError: The truth is not on the grid of the scan.
        """
        if problem := grid_problem(prediction, truth):
            raise DataSetError(f"{truth.source}: the mask is not on its scan's grid: {problem}; resample one of them")
        spacing = self.spacing(truth)
        comparisons = compare_masks(
            prediction.array, truth.array, labels=labels, spacing=spacing, tolerance=NSD_TOLERANCE, threads=threads
        )
        diagonal = float(np.linalg.norm(np.multiply(truth.array.shape, spacing)))
        return tuple(self._score(comparison, diagonal) for comparison in comparisons)

    def _score(self, comparison: Comparison, diagonal: float) -> Score:
        missed = comparison.truth_voxels > 0 and comparison.prediction_voxels == 0
        hallucinated = comparison.prediction_voxels > 0 and comparison.truth_voxels == 0
        if comparison.hausdorff_95 is not None:
            return Score(
                *(comparison.dice, comparison.jaccard, comparison.hausdorff_95, comparison.surface_dice),
                nsd_by_area=comparison.surface_dice_by_area,
            )
        incomplete = self.score_incomplete(comparison, diagonal)
        if incomplete is None:
            return Score(None, None, None, None, absent=True)
        overlap, distance = incomplete
        return Score(overlap, overlap, distance, overlap, missed, hallucinated, overlap)


class StrictProtocol(Protocol):
    """The default: scans are segmented as in prediction, and lengths are in mm."""

    name = "strict"
    description = (
        "Logits enlarged bilinearly before argmax; lengths in mm where the spacing is known; a structure absent from "
        "both masks is excluded; one in a single mask scores Dice, Jaccard and NSD 0 and HD95 the scan's diagonal."
    )

    def segment(self, scan: Volume, contract: Contract, engine: Engine, *, on_slice: OnSlice | None = None) -> LabelMap:
        """Segment a scan as prediction does."""
        return segment(scan, contract, engine, on_slice=on_slice)

    def spacing(self, truth: LabelMap) -> tuple[float, float, float]:
        """Return the mask's spacing in mm; 1, 1, 1 where it is unknown."""
        return truth.spacing_mm if truth.spacing_known else (1.0, 1.0, 1.0)

    def unit(self, truth: LabelMap) -> Unit:
        """Return mm where the spacing is known; else voxels, or pixels of a picture."""
        if truth.spacing_known:
            return "mm"
        return "pixels" if 1 in truth.shape else "voxels"  # of a picture

    def score_incomplete(self, comparison: Comparison, diagonal: float) -> tuple[float, float] | None:
        """Exclude two empty masks; one empty mask scores 0 and the diagonal."""
        if comparison.prediction_voxels == comparison.truth_voxels == 0:
            return None
        return 0.0, diagonal


class TransUnetProtocol(Protocol):
    """The convention of TransUNet's test script, for comparison with published tables.

    Source: Chen et al., 2102.04306; `test_single_volume` and `calculate_metric_percase` of their repository, which
    DAE-Former and Embedded-ViT took over.
    """

    name = "transunet"
    description = (
        "Published convention: slices zoomed by cubic splines, argmax at the network's size, labels zoomed back to the "
        "nearest; lengths in voxels; a prediction without truth scores Dice 1 and HD95 0, any other empty mask 0 and 0."
    )

    def segment(self, scan: Volume, contract: Contract, engine: Engine, *, on_slice: OnSlice | None = None) -> LabelMap:
        """Segment a scan; labels are zoomed back to the nearest pixel, and small components stay."""
        cubic = contract.preprocessing.model_copy(update={"interpolation": "cubic"})
        mask, upright = scan.empty_mask(), scan.reoriented(cubic.orientation)
        upright_mask = mask.reoriented(cubic.orientation)  # a view: what is put here lands in `mask`
        _, rows, columns = upright.shape
        nearest_pixel = np.ix_(_nearest(cubic.image_size, rows), _nearest(cubic.image_size, columns))
        grid = _stretched_grid(rows, columns, cubic.image_size)
        for index, image in enumerate(network_inputs(upright, cubic, grid=grid)):
            labels = cubic.on_input_grid(engine.run(image[None])[0]).argmax(axis=0).astype(np.uint8)  # (S, S)
            upright_mask.put(index, labels[nearest_pixel])
            if on_slice is not None:
                on_slice()
        return mask

    def spacing(self, truth: LabelMap) -> tuple[float, float, float]:
        """Return 1, 1, 1: lengths are in voxels."""
        return 1.0, 1.0, 1.0

    def unit(self, truth: LabelMap) -> Unit:
        """Return voxels, whatever the spacing."""
        return "voxels"

    def score_incomplete(self, comparison: Comparison, diagonal: float) -> tuple[float, float] | None:
        """Score 1 and 0 for a prediction without truth, 0 and 0 for any other pair, as published."""
        return (1.0, 0.0) if comparison.prediction_voxels > 0 else (0.0, 0.0)


PROTOCOLS: dict[ProtocolName, Protocol] = {"strict": StrictProtocol(), "transunet": TransUnetProtocol()}


def _stretched_grid(rows: int, columns: int, size: int) -> Grid:
    """Make a grid of S x S pixels that stretches each axis of a slice to S: no padding, spacing ignored."""
    by_rows = Grid.between((rows, rows), size, interpolation="cubic")
    by_columns = Grid.between((columns, columns), size, interpolation="cubic")
    return Grid(
        (rows, columns),
        size,
        size,
        by_rows.reduce_rows,
        by_columns.reduce_columns,
        by_rows.enlarge_rows,
        by_columns.enlarge_columns,
    )


def _nearest(source: int, target: int) -> NDArray[np.intp]:
    """Return the nearest source pixel of each target pixel, end pixels aligned, as scipy.ndimage.zoom(order=0)."""
    position = np.arange(target) * (source - 1) / max(target - 1, 1)
    return np.floor(position + 0.5).astype(np.intp)
