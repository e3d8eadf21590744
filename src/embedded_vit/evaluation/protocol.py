"""The two evaluation protocols: how a scan becomes a mask, and what a pair of masks scores.

`strict` is how the device segments and how clinicians measure: millimetres, and no reward for an organ that is not
there. `transunet` repeats the convention of TransUNet's published test script, so that its tables can be compared.
`docs/metrics.md` sets them side by side.
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
from embedded_vit.predict.segmentation import OnSlice, segment
from embedded_vit.preprocessing import Grid, network_inputs
from embedded_vit.volume import LabelMap, Volume

__all__ = ["METRICS", "PROTOCOLS", "Protocol", "ProtocolName", "Score", "StrictProtocol", "TransUnetProtocol"]

ProtocolName = Literal["strict", "transunet"]

METRICS = ("dice", "jaccard", "hd95", "nsd")
NSD_TOLERANCE = 2.0  # mm, or voxels where no spacing is known


@dataclass(frozen=True)
class Score:
    """What one structure of one case scores.

    Attributes:
        dice, jaccard, nsd: In [0, 1]; None where the structure is excluded.
        hd95: In mm or voxels, see `Protocol.unit`; None where the structure is excluded.
        missed: In the truth, not in the prediction.
        hallucinated: In the prediction, not in the truth.
    """

    dice: float | None
    jaccard: float | None
    hd95: float | None
    nsd: float | None
    missed: bool = False
    hallucinated: bool = False

    @property
    def excluded(self) -> bool:
        """Whether it takes no part in any mean."""
        return self.dice is None


class Protocol(ABC):
    """How a scan becomes a mask, and what a pair of masks scores."""

    name: ProtocolName
    description: str  # one sentence for reports

    @abstractmethod
    def segment(self, scan: Volume, contract: Contract, engine: Engine, *, on_slice: OnSlice | None = None) -> LabelMap:
        """Segment a scan on its own grid; arguments as `embedded_vit.predict.segmentation.segment`."""

    @abstractmethod
    def spacing(self, truth: LabelMap) -> tuple[float, float, float]:
        """The distance between neighbouring slices, rows and columns that lengths are measured with."""

    @abstractmethod
    def unit(self, truth: LabelMap) -> Literal["mm", "voxels"]:
        """The unit of HD95 and of the NSD's tolerance."""

    @abstractmethod
    def score_incomplete(self, comparison: Comparison, diagonal: float) -> tuple[float, float] | None:
        """What a pair with an empty mask scores: (Dice, HD95), or None when it is excluded.

        Args:
            comparison: Of two masks, one of them empty or both.
            diagonal: Of the scan, in the unit of lengths.
        """

    def score(self, prediction: LabelMap, truth: LabelMap, *, labels: int, threads: int = 2) -> tuple[Score, ...]:
        """Score every structure of a case.

        Args:
            prediction, truth: Masks on one grid.
            labels: The number of structures; they are numbered from 1.
            threads: Structures compared at a time.

        Raises:
            DataSetError: The truth is not on the grid of the scan.
        """
        if prediction.array.shape != truth.array.shape or not np.allclose(prediction.affine, truth.affine, atol=1e-2):
            raise DataSetError(
                f"{truth.source}: the mask, of shape {truth.array.shape}, is not on its scan's grid, of shape "
                f"{prediction.array.shape}; resample one of them"
            )
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
            return Score(comparison.dice, comparison.jaccard, comparison.hausdorff_95, comparison.surface_dice)
        incomplete = self.score_incomplete(comparison, diagonal)
        if incomplete is None:
            return Score(None, None, None, None, missed, hallucinated)
        overlap, distance = incomplete
        return Score(overlap, overlap, distance, overlap, missed, hallucinated)


class StrictProtocol(Protocol):
    """The default: the device's own pipeline, millimetres, and nothing for what is not there."""

    name = "strict"
    description = (
        "Logits enlarged bilinearly before argmax; lengths in mm where the spacing is known; a structure absent from "
        "both masks is excluded; one in a single mask scores Dice, Jaccard and NSD 0 and HD95 the scan's diagonal."
    )

    def segment(self, scan: Volume, contract: Contract, engine: Engine, *, on_slice: OnSlice | None = None) -> LabelMap:
        """Segment a scan as the device does."""
        return segment(scan, contract, engine, on_slice=on_slice)

    def spacing(self, truth: LabelMap) -> tuple[float, float, float]:
        """The mask's spacing in mm; 1, 1, 1 where it is unknown."""
        return truth.spacing_mm if truth.spacing_known else (1.0, 1.0, 1.0)

    def unit(self, truth: LabelMap) -> Literal["mm", "voxels"]:
        """Millimetres where the spacing is known."""
        return "mm" if truth.spacing_known else "voxels"

    def score_incomplete(self, comparison: Comparison, diagonal: float) -> tuple[float, float] | None:
        """Both empty: excluded; one empty: 0 and the diagonal."""
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
            labels = engine.run(image[None])[0].argmax(axis=0).astype(np.uint8)  # (S, S)
            upright_mask.put(index, labels[nearest_pixel])
            if on_slice is not None:
                on_slice()
        return mask

    def spacing(self, truth: LabelMap) -> tuple[float, float, float]:
        """Voxels."""
        return 1.0, 1.0, 1.0

    def unit(self, truth: LabelMap) -> Literal["mm", "voxels"]:
        """Voxels."""
        return "voxels"

    def score_incomplete(self, comparison: Comparison, diagonal: float) -> tuple[float, float] | None:
        """A prediction without truth: 1 and 0; any other empty mask: 0 and 0."""
        return (1.0, 0.0) if comparison.prediction_voxels > 0 else (0.0, 0.0)


PROTOCOLS: dict[ProtocolName, Protocol] = {"strict": StrictProtocol(), "transunet": TransUnetProtocol()}


def _stretched_grid(rows: int, columns: int, size: int) -> Grid:
    """S x S pixels over a slice of any shape, each axis zoomed on its own: nothing is padded, a mm is forgotten."""
    by_rows = Grid.between((rows, rows), size, interpolation="cubic")
    by_columns = Grid.between((columns, columns), size, interpolation="cubic")
    return Grid(
        (rows, columns),
        size,
        by_rows.reduce_rows,
        by_columns.reduce_columns,
        by_rows.enlarge_rows,
        by_columns.enlarge_columns,
    )


def _nearest(source: int, target: int) -> NDArray[np.intp]:
    """(target,) the source pixel nearest to each target pixel, end pixels aligned, as scipy.ndimage.zoom(order=0)."""
    position = np.arange(target) * (source - 1) / max(target - 1, 1)
    return np.floor(position + 0.5).astype(np.intp)
