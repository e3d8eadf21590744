"""Where the structures of a mask lie in the body, how large they are, and how sure the network is of them.

Everything is gathered slice by slice while a scan is segmented, on a coarse grid, so that it costs little; two masks
can be compared by these figures whatever their grids. The body is what is brighter than fat on the network's input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from embedded_vit.preprocessing import Grid, Intensities, Modality, Preprocessing
from embedded_vit.slicing import AXES, Axis, array_axis
from embedded_vit.volume import Mask

__all__ = ["Certainty", "FigureCollector", "MaskFigures", "StructureFigures"]

Place = TypeVar("Place", float, float | None)
SAMPLED_PIXELS = 128  # of a slice along each axis, at most
SAMPLED_LOGITS = 64  # of the network's output along each axis, at most
SURE_EVERY = 2  # slices: of every second one the network's certainty is measured
# On the network's input: -115 HU, where fat begins; a tenth of the MR range; a picture may show anything.
BODY: dict[Modality, float] = {"CT": -0.95, "MR": -0.8, "picture": -1.0}
BOX_DEVIATIONS = 2  # half of the box's side, in standard deviations: exact for an ellipse, and a table moves it little
CROPPED_SHARE = 0.82  # of a slice that is body: an ellipse fills 0.785 of its box


@dataclass(frozen=True)
class StructureFigures:
    """One structure of one mask.

    Attributes:
        volume: In ml, or in voxels where lengths are not known.
        place: Its middle in the box of the body in the slices, along the two axes of a slice: 0 is the end of the box
            away from the axis, 1 the end in its direction. For axial slices left and posterior.
        share: Its largest cross-section in a slice, as a share of the body's there.
        centre: Its middle, (superior, left, posterior), in shares of the scan.
        confidence: The network's mean softmax probability; None where it was not measured.
        at_border: Whether it touches the border of the scan.
    """

    volume: float
    place: Mapping[Axis, float]
    share: float
    centre: tuple[float, float, float]
    confidence: float | None
    at_border: bool


@dataclass(frozen=True)
class MaskFigures:
    """All structures of a mask.

    Attributes:
        structures: By number; those of which the mask has no voxel are left out.
        in_ml: Whether volumes are in ml.
        cropped: Whether the body fills the slices, so that nothing is known of places in it.
        height_mm: Of the whole scan, towards the head; None where lengths are not known.
    """

    structures: Mapping[int, StructureFigures]
    in_ml: bool
    cropped: bool
    height_mm: float | None


class Certainty:
    """Gathers how sure a network is: the mean softmax probability of the pixels that each class wins.

    It is measured on the network's own grid, on at most 64 x 64 pixels of every second slice, and before small
    components are removed.

    Args:
        classes: The number of classes, background included.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._sure: dict[int, NDArray[np.float64]] = {}  # slice -> (2, classes): pixels, sum of their probabilities

    def see(self, index: int, logits: NDArray[np.float32]) -> None:
        """Look at a slice's output, (K, T, T); any thread may call this."""
        if index % SURE_EVERY == 0:
            self._sure[index] = _certainty(logits)

    def means(self) -> list[float | None]:
        """Return the mean probability of each class, background first; None where no pixel of it was looked at."""
        pixels, sums = sum(self._sure.values(), start=np.zeros((2, self._classes)))
        return [float(total / count) if count else None for count, total in zip(pixels, sums, strict=True)]


class FigureCollector:
    """Gathers the figures of a mask while its slices are made, in the orientation in which the network sees them.

    Args:
        grid: Of the scan's slices.
        preprocessing: Of the network.
        classes: The number of classes, background included.
    """

    intensities: Intensities | None = None  # of the scan; not known here

    def __init__(self, grid: Grid, preprocessing: Preprocessing, classes: int) -> None:
        self.grid, self._preprocessing, self._classes = grid, preprocessing, classes
        self._step = max(1, -(-max(grid.shape) // SAMPLED_PIXELS))
        self._axes = {axis: array_axis(preprocessing.orientation, axis) for axis in AXES}
        on_network = _middles(grid.output_size)
        places = [of_axis.matrix @ on_network for of_axis in (grid.enlarge_rows, grid.enlarge_columns)]
        self._pixel = float(np.prod([abs(place[-1] - place[0]) / max(len(place) - 1, 1) for place in places]))
        self._slice_area = self._pixel * grid.shape[0] * grid.shape[1]
        rows, columns = (  # of the whole slice; nothing is labelled outside the field of view
            np.pad(place, (along.indices(length)[0], length - along.indices(length)[1]), "edge")[:: self._step]
            for place, along, length in zip(places, grid.seen, grid.shape, strict=True)
        )
        # Of each sampled pixel, in shares of the network's grid: (pixels,)
        self._row, self._column = np.repeat(rows, len(columns)), np.tile(columns, len(rows))
        self._labelled: dict[int, NDArray[np.float64]] = {}  # slice -> (3, classes): area, its mean row and column
        self._bodies: dict[int, NDArray[np.float64]] = {}  # slice -> (5,): area; first and last row; then column
        self.certainty = Certainty(classes)

    def see(self, index: int, image: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
        """Look at a slice's network input, (C, S, S), and output, (K, T, T); any thread may call this."""
        channels = len(self._preprocessing.channels)
        middle = self._preprocessing.context_slices // 2 * channels
        body = (image[middle] > BODY[self._preprocessing.modality]).astype(np.float32)
        ones = np.ones(len(body), np.float32)  # a product with it adds up several times faster than `sum`
        along = [(body @ ones).astype(float), (ones @ body).astype(float)]  # rows, columns
        area = along[0].sum()
        if area:
            self._bodies[index] = np.array([area / body.size, *_ends(along[0], area), *_ends(along[1], area)])
        self.certainty.see(index, logits)

    def put(self, index: int, labels: NDArray[np.uint8]) -> None:
        """Take a finished slice, (rows, columns); a slice that changes later is put again."""
        sampled = labels[:: self._step, :: self._step].ravel()
        found = np.flatnonzero(sampled != 0)
        if not len(found):
            self._labelled.pop(index, None)
            return
        numbers = sampled[found]
        counts = np.bincount(numbers, minlength=self._classes).astype(float)
        sums = [np.bincount(numbers, place[found], self._classes) for place in (self._row, self._column)]
        middles = np.divide(sums, counts, out=np.zeros((2, self._classes)), where=counts > 0)
        self._labelled[index] = np.stack([counts * self._step**2 * self._pixel, *middles])

    def figures(self, mask: Mask, counts: NDArray[np.int64], at_border: NDArray[np.bool_]) -> MaskFigures:
        """Return the figures of the whole mask, whose slices all were seen and put.

        Args:
            mask: In the orientation in which the network sees slices.
            counts: Of the mask, as `Mask.counts` gives them.
            at_border: Of the mask, as `Mask.at_border` gives it.
        """
        voxel_ml = abs(float(np.linalg.det(mask.affine[:3, :3]))) / 1000 if mask.spacing_known else 1.0
        upwards, _ = self._axes["superior"]
        height_mm = mask.spacing_mm[upwards] * mask.shape[upwards] if mask.spacing_known else None
        indices = sorted(set(self._labelled) & set(self._bodies))
        if not indices:
            return MaskFigures({}, mask.spacing_known, cropped=False, height_mm=height_mm)
        labelled = np.stack([self._labelled[index] for index in indices])  # (slices, 3, classes)
        bodies = np.stack([self._bodies[index] for index in indices])  # (slices, 5)
        sure = self.certainty.means()
        heights = (np.array(indices) + 0.5) / mask.shape[0]
        structures = {}
        for number in range(1, self._classes):
            area = labelled[:, 0, number]
            if not counts[number] or not area.sum():
                continue
            row, column = labelled[:, 1, number], labelled[:, 2, number]
            size = np.maximum(bodies[:, [2, 4]] - bodies[:, [1, 3]], 1e-3)
            in_body = (np.stack([row, column], axis=1) - bodies[:, [1, 3]]) / size
            centre = [float(np.average(values, weights=area)) for values in (heights, row, column)]
            in_box = [None, *map(float, np.average(in_body, axis=0, weights=area))]  # no box along the slices
            place = {axis: at for axis, at in self._along_body(in_box).items() if at is not None}
            towards = self._along_body(centre)
            structures[number] = StructureFigures(
                volume=float(counts[number]) * voxel_ml,
                place=place,
                share=float((area / bodies[:, 0]).max()),
                centre=(towards["superior"], towards["left"], towards["posterior"]),
                confidence=sure[number],
                at_border=bool(at_border[number]),
            )
        cropped = float(np.mean(bodies[:, 0])) > CROPPED_SHARE * self._slice_area
        return MaskFigures(structures, mask.spacing_known, cropped, height_mm)

    def _along_body(self, places: Sequence[Place]) -> dict[Axis, Place]:
        """Turn shares along (slices, rows, columns) to shares along the axes of the body."""
        found = {}
        for axis, (number, forwards) in self._axes.items():
            at = places[number]
            found[axis] = at if forwards or at is None else 1 - at
        return found


def _middles(length: int) -> NDArray[np.float64]:
    """Return the middles of an axis's pixels, in shares of the axis: (length,)."""
    return (np.arange(length) + 0.5) / length


def _ends(profile: NDArray[np.float64], area: float) -> tuple[float, float]:
    """Return where the body's box begins and ends along one axis, in shares of the axis; the profile adds to `area`."""
    places = _middles(len(profile))
    middle = float(places @ profile / area)
    half = BOX_DEVIATIONS * float((places - middle) ** 2 @ profile / area) ** 0.5
    return middle - half, middle + half


def _certainty(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return for each class the pixels that it wins, and the sum of their softmax probabilities: (2, classes)."""
    step = max(1, logits.shape[1] // SAMPLED_LOGITS)
    sampled = logits[:, ::step, ::step].reshape(len(logits), -1)  # (K, pixels)
    chosen = np.flatnonzero(sampled[1:].max(axis=0) > sampled[0])  # few; background is not asked for
    sampled = sampled[:, chosen]
    probability = 1 / np.exp(sampled - sampled.max(axis=0)).sum(axis=0)
    return np.stack([np.bincount(sampled.argmax(axis=0), weight, len(logits)) for weight in (None, probability)])
