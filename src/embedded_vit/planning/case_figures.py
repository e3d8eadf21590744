"""What is measured on one labelled case before anything is decided: grid, intensities, sizes of structures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import distance_transform_edt

from embedded_vit.config import Config
from embedded_vit.field_of_view import FieldOfView, seen_part
from embedded_vit.labels import LabelSet
from embedded_vit.preprocessing import Intensities, Preprocessing
from embedded_vit.slicing import AXES, PLANES, Orientation, across_slices
from embedded_vit.volume import LabelMap, Volume

__all__ = ["CaseFigures", "StructureFigures", "case_figures", "occupancy_of"]

Span = tuple[int, int]  # first voxel and the one after the last, along an axis of the body
QUANTILES = (0.5, 2, 10, 25, 50, 75, 90, 98, 99.5)
MOST_NUMBERS = 200_000  # of a structure's voxels in a case; more are sampled
MEASURED_SLICES = 6  # of a structure in a case, for its width
OCCUPANCY = 8  # cells along each axis of the box of all structures


class StructureFigures(Config):
    """One structure of one case."""

    voxels: int
    quantiles: tuple[tuple[float, ...], ...] = Field(description="of each channel, at `QUANTILES`")
    mean: tuple[float, ...] = Field(description="of each channel")
    deviation: tuple[float, ...]
    width: Mapping[Orientation, float] = Field(description="median width of its cross-sections, in mm or voxels")


class CaseFigures(Config):
    """What was measured on one case; axes of the body are superior, left, posterior."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float] = Field(description="in mm; 1 where it is not known")
    spacing_known: bool
    percentiles: tuple[tuple[float, float], ...] = Field(description="0.5 and 99.5 of each channel, zeros left out")
    mean: tuple[float, ...] = Field(description="of each channel, zeros left out")
    deviation: tuple[float, ...]
    zero_share: float = Field(description="of the voxels, in every channel")
    seen: Mapping[FieldOfView, tuple[Span, Span, Span]] = Field(description="what each field of view holds")
    labelled: tuple[Span, Span, Span] | None = Field(description="the box of all structures; None without any")
    labelled_slices: Mapping[Orientation, int] = Field(description="slices with a structure")
    structures: Mapping[str, StructureFigures]
    occupancy: str = Field(default="", description="where structures lie in their box, see `occupancy_of`")

    def side(self, orientation: Orientation, kind: FieldOfView) -> float:
        """Return the side of the square that a network sees in slices of an orientation, in mm or voxels."""
        spans = self.seen[kind]
        return max(
            (spans[number][1] - spans[number][0]) * self.spacing[number]
            for number in range(len(AXES))
            if number != across_slices(orientation)
        )

    def needed_side(self, orientation: Orientation, kind: FieldOfView) -> float:
        """Return the side of the smallest square around the middle of a field of view that holds all structures."""
        if self.labelled is None:
            return 0.0
        return max(
            max(high - (low + end) / 2, (low + end) / 2 - first) * 2 * self.spacing[number]
            for number, ((first, high), (low, end)) in enumerate(zip(self.labelled, self.seen[kind], strict=True))
            if number != across_slices(orientation)
        )

    def slices(self, orientation: Orientation) -> int:
        """Return how many slices the case has in an orientation."""
        return self.shape[across_slices(orientation)]

    def keeps_all(self, orientation: Orientation, kind: FieldOfView) -> bool:
        """Whether no labelled voxel lies outside a field of view."""
        return self.labelled is None or all(
            first >= low and last <= high
            for number, ((first, last), (low, high)) in enumerate(zip(self.labelled, self.seen[kind], strict=True))
            if number != across_slices(orientation)
        )


def case_figures(volume: Volume, mask: LabelMap, labels: LabelSet, kinds: tuple[FieldOfView, ...]) -> CaseFigures:
    """Measure a case.

    Args:
        volume: The scan, in any orientation.
        mask: Its mask, on its grid.
        labels: The structures.
        kinds: The fields of view that are possible for this modality.
    """
    volume, mask = volume.reoriented("SLP"), mask.reoriented("SLP")  # slices, rows, columns: superior, left, posterior
    # What nobody labelled has a number above the structures'.
    mask = replace(mask, array=np.where(mask.array < labels.classes, mask.array, np.uint8(0)))
    channels = tuple(f"channel {number}" for number in range(volume.channels))
    ranges = [
        Intensities.of(volume, Preprocessing.for_modality("MR", channels=channels, image_size=8, **asked))
        for asked in ({"percentiles": (0.5, 99.5)}, {"deviations": 1.0})
    ]
    (low, high), (below, above) = ([each.low.ravel(), each.high.ravel()] for each in ranges)
    boxes = {label.id: _bounds(mask.array == label.id) for label in labels.labels}
    found = [box for box in boxes.values() if box is not None]
    labelled = _joined(found) if found else None
    return CaseFigures(
        shape=volume.shape,
        spacing=volume.spacing_mm if volume.spacing_known else (1.0, 1.0, 1.0),
        spacing_known=volume.spacing_known,
        percentiles=tuple(zip(low.tolist(), high.tolist(), strict=True)),
        mean=tuple(((below + above) / 2).tolist()),
        deviation=tuple(((above - below) / 2).tolist()),
        zero_share=float(np.mean([(volume.stored(index) == 0).all(axis=0).mean() for index in range(volume.shape[0])])),
        seen={kind: _spans(volume, kind) for kind in kinds},
        labelled=labelled,
        labelled_slices={codes: _labelled_slices(mask, codes) for codes in PLANES},
        structures={
            label.name: _structure(volume, mask, label.id, box)
            for label in labels.labels
            if (box := boxes[label.id]) is not None
        },
        occupancy="" if labelled is None else _occupancy(mask, labelled, labels.classes),
    )


def occupancy_of(figures: CaseFigures, classes: int) -> NDArray[np.float64]:
    """Return the share of each cell of the box of all structures that each structure fills.

    Returns:
        (classes - 1, 8, 8, 8) in [0, 1]: structure, superior, left, posterior.
    """
    stored = np.frombuffer(base64.b64decode(figures.occupancy), np.uint8)
    return stored.reshape(classes - 1, OCCUPANCY, OCCUPANCY, OCCUPANCY) / 255


def _spans(volume: Volume, kind: FieldOfView) -> tuple[Span, Span, Span]:
    """Return what a field of view holds along the three axes of the body."""
    rows, columns = seen_part(volume, kind)
    upwards, _ = seen_part(volume.reoriented("PLI"), kind)[::-1]  # columns to inferior
    low, high = volume.shape[0] - upwards.stop, volume.shape[0] - upwards.start
    return (low, high), (rows.start, rows.stop), (columns.start, columns.stop)


def _bounds(inside: NDArray[np.bool_]) -> tuple[Span, Span, Span] | None:
    spans = []
    for axis in range(3):
        places = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        if not places.size:
            return None
        spans.append((int(places[0]), int(places[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _joined(boxes: list[tuple[Span, Span, Span]]) -> tuple[Span, Span, Span]:
    spans = [(min(low for low, _ in along), max(high for _, high in along)) for along in zip(*boxes, strict=True)]
    return spans[0], spans[1], spans[2]


def _labelled_slices(mask: LabelMap, codes: Orientation) -> int:
    array = mask.reoriented(codes).array
    return int(np.count_nonzero(array.any(axis=(1, 2))))


def _structure(volume: Volume, mask: LabelMap, number: int, box: tuple[Span, Span, Span]) -> StructureFigures:
    part = tuple(slice(*span) for span in box)
    inside = mask.array[part] == number
    voxels = int(np.count_nonzero(inside))
    step = max(1, voxels // MOST_NUMBERS)
    numbers = volume.array[(slice(None), *part)][:, inside][:, ::step].astype(np.float64)
    intensities = numbers * volume.slope + volume.intercept  # (channels, voxels)
    spacing = volume.spacing_mm if volume.spacing_known else (1.0, 1.0, 1.0)
    quantiles = np.percentile(intensities, QUANTILES, axis=1).T
    return StructureFigures(
        voxels=voxels,
        quantiles=tuple(map(tuple, quantiles.round(5).tolist())),
        mean=tuple(intensities.mean(axis=1).tolist()),
        deviation=tuple(intensities.std(axis=1).tolist()),
        width={codes: _width(inside, spacing, codes) for codes in PLANES},
    )


def _width(inside: NDArray[np.bool_], spacing: tuple[float, float, float], codes: Orientation) -> float:
    """Return the median width of a structure's cross-sections in slices of an orientation, in the unit of the spacing.

    Voxels of a band of width w lie w / 4 from its edge on average, those of a disc a sixth of its diameter; so four
    times the mean is the width of what is long, and a little less than the diameter of what is round.
    """
    along = across_slices(codes)
    planes = np.moveaxis(inside, along, 0)
    in_plane = [spacing[number] for number in range(3) if number != along]
    shown = np.flatnonzero(planes.any(axis=(1, 2)))
    chosen = shown[np.linspace(0, len(shown) - 1, min(len(shown), MEASURED_SLICES)).round().astype(int)]
    widths = []
    for index in chosen:
        plane = np.pad(planes[index], 1)
        distance = distance_transform_edt(plane, sampling=in_plane)[plane] - 0.5 * min(in_plane)
        widths.append(4 * float(distance.mean()))
    return float(np.median(widths))


def _occupancy(mask: LabelMap, box: tuple[Span, Span, Span], classes: int) -> str:
    part = mask.array[tuple(slice(*span) for span in box)]
    cells = [((np.arange(length) + 0.5) * OCCUPANCY / length).astype(int) for length in part.shape]
    counts = np.zeros((classes, OCCUPANCY, OCCUPANCY, OCCUPANCY))
    upwards, leftwards, backwards = np.nonzero(part)
    np.add.at(
        counts, (part[upwards, leftwards, backwards], cells[0][upwards], cells[1][leftwards], cells[2][backwards]), 1
    )
    sizes = [np.maximum(np.bincount(along, minlength=OCCUPANCY), 1) for along in cells]
    shares = counts[1:] / (sizes[0][:, None, None] * sizes[1][:, None] * sizes[2])
    return base64.b64encode(np.rint(255 * np.minimum(shares, 1)).astype(np.uint8).tobytes()).decode()
