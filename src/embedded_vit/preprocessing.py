"""Windowing, resizing and slice context, and the way back from logits to a slice; numpy only.

Training, evaluation and prediction call these functions and no others, so that a network sees the same numbers
everywhere::

    Volume --Intensities.normalise--> [0, 1] --Grid.reduce--> S x S --network_input--> (C, S, S) in [-1, 1]
    logits (K, T, T) --Grid.enlarge + argmax--> labels on the slice's own grid

T is S, or a half or a quarter of it for networks whose logits are coarser than their input.

Resizing is linear and separable, see `embedded_vit.resampling`; its matrices are made once for each volume. The field
of view is a square in mm around the slice, or around the part of it that `embedded_vit.field_of_view` finds. Outside
the slice it is 0, the air of a CT.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from typing_extensions import Self

from embedded_vit.config import Config
from embedded_vit.errors import FileFormatError
from embedded_vit.field_of_view import WHOLE, FieldOfView, Part, seen_part
from embedded_vit.resampling import Resampling, antialias_matrix, bilinear_matrix, cubic_matrix
from embedded_vit.slicing import Orientation
from embedded_vit.volume import Scan, nearest_whole

__all__ = [
    "CT_WINDOW_HU",
    "MOST_PIXELS",
    "RANGES",
    "Grid",
    "Intensities",
    "Interpolation",
    "Modality",
    "Preprocessing",
    "network_inputs",
]

CT_WINDOW_HU = (-125.0, 275.0)  # TransUNet, 2102.04306, and its Synapse preprocessing
MR_PERCENTILES = (0.5, 99.5)
Interpolation = Literal["antialias", "cubic"]
Modality = Literal["CT", "MR", "picture"]
FULL_SCALE = (0.0, 1.0)  # of a picture, whose reader gives shares of what its bit depth can store
RANGES = ("window_hu", "percentiles", "deviations", "ranges")  # the ways to say which intensities become 0 and 1
Number = TypeVar("Number", bound=np.generic)
MOST_PIXELS = 8192  # along a side of the field of view; its matrices grow with it, those of `cubic` with its square


class Preprocessing(Config):
    """How a scan becomes the input of a network."""

    modality: Modality = "CT"
    channels: tuple[str, ...] = Field(
        default=("CT",), min_length=1, description="names of the scan's channels, in order"
    )
    window_hu: tuple[float, float] | None = Field(default=None, description="CT: the intensities that become 0 and 1")
    percentiles: tuple[float, float] | None = Field(
        default=None, description="MR: the percentiles of each volume that become 0 and 1"
    )
    deviations: float | None = Field(
        default=None, gt=0, description="z-score: so many standard deviations below and above each volume's mean"
    )
    ranges: tuple[tuple[float, float], ...] | None = Field(
        default=None, description="the intensities that become 0 and 1, for each channel; the same in every scan"
    )
    image_size: int = Field(ge=8, description="S: rows and columns of the network's input")
    output_stride: int = Field(default=1, ge=1, description="pixels of the input's side for one of the logits' side")
    context_slices: Literal[1, 3] = Field(default=1, description="slices that the network sees to label one")
    context_mm: float | None = Field(
        default=None, gt=0, description="approximate distance between these slices; None takes neighbours"
    )
    interpolation: Interpolation = Field(default="antialias", description="how slices are resized to S x S")
    orientation: Orientation = Field(default="SLP", description="how slices are cut: axial, coronal PLI, sagittal LPI")
    field_of_view: FieldOfView = Field(default="slice", description="the part of the slices that is resized to S x S")

    field_mm: float | None = Field(
        default=None, gt=0, description="side of the square around the middle of that part; None: what holds it"
    )

    @model_validator(mode="after")
    def _one_intensity_range(self) -> Self:
        if sum(getattr(self, name) is not None for name in RANGES) != 1:
            raise ValueError(f"give {', '.join(RANGES[:-1])} or {RANGES[-1]}, one of them")
        for low, high in [self.window_hu or self.percentiles or (0.0, 1.0), *(self.ranges or ())]:
            if low >= high:
                raise ValueError(f"the intensity range must rise, got {low} to {high}")
        if self.ranges is not None and len(self.ranges) != len(self.channels):
            raise ValueError(f"{len(self.ranges)} ranges for {len(self.channels)} channels")
        if self.field_of_view == "body" and self.modality != "CT":
            raise ValueError("field_of_view body needs HU; only a CT has them")
        if self.modality == "picture" and self.context_slices != 1:
            raise ValueError("a picture is a single slice; set context_slices to 1")
        return self

    @classmethod
    def for_modality(cls, modality: Modality, **settings: Any) -> Preprocessing:
        """Return the default: CT window [-125, 275] HU, or the 0.5 and 99.5 percentiles of each MR volume.

        A picture runs from black to the white of its bit depth. A range among the settings takes the place of these.
        """
        if not set(RANGES) & set(settings):
            defaults: dict[Modality, dict[str, Any]] = {
                "CT": {"window_hu": CT_WINDOW_HU},
                "MR": {"percentiles": MR_PERCENTILES},
                "picture": {"ranges": (FULL_SCALE,) * len(settings.get("channels", ("grey",)))},
            }
            settings |= defaults[modality]
        return cls(modality=modality, **settings)

    @property
    def input_channels(self) -> int:
        """The number of channels of the network's input: the scan's channels times the context slices."""
        return len(self.channels) * self.context_slices

    @property
    def output_size(self) -> int:
        """T: rows and columns of the network's logits."""
        return self.image_size // self.output_stride

    def on_input_grid(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize logits (..., T, T) to the grid of the network's input: (..., S, S), as `Grid.enlarge` does."""
        if self.output_stride == 1:
            return logits
        return Grid.between((self.image_size,) * 2, self.image_size, output_size=self.output_size).enlarge(logits)

    def context_step(self, volume: Scan) -> int:
        """Return the step between context slices, in slices of a volume in training orientation; at least 1."""
        if self.context_mm is None or self.context_slices == 1 or not volume.spacing_known:
            return 1
        return max(1, nearest_whole(self.context_mm / volume.spacing_mm[0]))


@dataclass(frozen=True)
class Intensities:
    """The intensities of one volume that become 0 and 1, for each channel."""

    low: NDArray[np.float32]  # (channels, 1, 1)
    high: NDArray[np.float32]

    @classmethod
    def of(cls, volume: Scan, preprocessing: Preprocessing) -> Intensities:
        """Take the range from the preprocessing, or measure it on the volume (percentiles, deviations).

        It is measured on at most about a million voxels of a channel, evenly spaced. Zeros, the empty border of an MR
        volume, do not count.
        """
        ranges: Sequence[tuple[float, float]]
        if preprocessing.percentiles is not None:
            ranges = _percentiles(volume, preprocessing.percentiles)
        elif preprocessing.deviations is not None:
            ranges = _deviations(volume, preprocessing.deviations)
        else:
            ranges = preprocessing.ranges or [preprocessing.window_hu or CT_WINDOW_HU] * volume.channels
        low, high = np.array(ranges, np.float32).T[..., None, None]  # each (channels, 1, 1)
        return cls(low, high)

    def normalise(self, intensities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map (channels, rows, columns) real intensities to [0, 1], clipped."""
        width = np.where(self.high > self.low, self.high - self.low, np.float32(1))  # however small: units differ
        return np.clip((intensities - self.low) / width, 0, 1, dtype=np.float32)


def _percentiles(volume: Scan, percentiles: tuple[float, float]) -> list[tuple[float, float]]:
    """Return two percentiles of each channel, as real intensities."""
    # Of stored numbers; where the slope is negative the brightest is the lowest of them.
    wanted = percentiles if volume.slope > 0 else [100 - percentile for percentile in percentiles]
    sampled = (values.astype(np.float64) for values in _sampled(volume))  # int8 overflows in NumPy
    ranges = [np.percentile(values, wanted) * volume.slope + volume.intercept for values in sampled]
    return [(float(low), float(high)) for low, high in ranges]


def _deviations(volume: Scan, deviations: float) -> list[tuple[float, float]]:
    """Return the mean of each channel less and plus so many standard deviations, as real intensities."""
    ranges = []
    for values in _sampled(volume):
        mean, reach = values.mean(dtype=np.float64), deviations * values.std(dtype=np.float64) * abs(volume.slope)
        middle = float(mean) * volume.slope + volume.intercept
        ranges.append((middle - float(reach), middle + float(reach)))
    return ranges


def _sampled(volume: Scan) -> Iterator[NDArray[Any]]:
    """Yield the stored numbers of each channel that its range is measured on: (numbers,)."""
    step = max(1, round((math.prod(volume.shape) / 1_000_000) ** 0.5))
    sampled = np.stack([volume.stored(index)[:, ::step, ::step] for index in range(volume.shape[0])], axis=1)
    for channel in sampled:  # (slices, rows / step, columns / step)
        yield channel[channel != 0] if (channel != 0).any() else channel.ravel()


@dataclass(frozen=True, eq=False)
class Grid:
    """The mapping between a slice's own grid and the network's grids over its square field of view.

    Attributes:
        shape: (rows, columns) of the slice.
        size: S, the side of the network's input.
        output_size: T, the side of its logits.
        reduce_rows, reduce_columns: rows -> S and columns -> S, slice -> network.
        enlarge_rows, enlarge_columns: T -> rows and T -> columns, network -> slice, bilinear.
        seen: The rows and columns of the slice that these four map; the others are background.
    """

    shape: tuple[int, int]
    size: int
    output_size: int
    reduce_rows: Resampling
    reduce_columns: Resampling
    enlarge_rows: Resampling
    enlarge_columns: Resampling
    seen: Part = WHOLE

    @classmethod
    def between(
        cls,
        shape: tuple[int, int],
        size: int,
        *,
        spacing_mm: tuple[float, float] = (1.0, 1.0),
        interpolation: Interpolation = "antialias",
        output_size: int | None = None,
        part: Part | None = None,
        field_mm: float | None = None,
        source: str = "scan",
    ) -> Grid:
        """Lay S x S pixels over the smallest square, in mm, that holds a slice of `shape`, or a part, in its middle.

        With `field_mm` the square has that side. The logits have as many pixels unless `output_size` says otherwise.
        `source` is named in messages.

        Raises:
            FileFormatError: The square has more pixels along a side than any scanner makes.
        """
        output_size = output_size or size
        part = part or (slice(0, shape[0]), slice(0, shape[1]))
        held = [along.stop - along.start for along in part]
        side_mm = field_mm or max(length * spacing for length, spacing in zip(held, spacing_mm, strict=True))
        axes, seen = [], []
        for length, spacing, along, there in zip(held, spacing_mm, part, shape, strict=True):
            padded = max(1 if field_mm else length, nearest_whole(min(side_mm / spacing, 2.0 * MOST_PIXELS)))
            if padded > MOST_PIXELS:
                raise FileFormatError(
                    f"{source}: the field of view of a slice has more than {MOST_PIXELS:,} pixels along a side, of "
                    f"{spacing_mm[0]:.3g} x {spacing_mm[1]:.3g} mm; repair the spacing or crop the scan"
                )
            first = along.start - (padded - length) // 2  # pixel of the slice at the square's edge; may lie outside
            seen.append(slice(max(0, first), min(there, first + padded)))
            inside = slice(seen[-1].start - first, seen[-1].stop - first)
            reduce = cubic_matrix if interpolation == "cubic" else antialias_matrix
            axes.append(
                (Resampling(reduce(padded, size)[:, inside]), Resampling(bilinear_matrix(output_size, padded)[inside]))
            )
        (reduce_rows, enlarge_rows), (reduce_columns, enlarge_columns) = axes
        return cls(
            *(shape, size, output_size, reduce_rows, reduce_columns, enlarge_rows, enlarge_columns),
            seen=(seen[0], seen[1]),
        )

    @classmethod
    def of(cls, volume: Scan, preprocessing: Preprocessing) -> Grid:
        """Make the grid that all slices of a volume in training orientation share."""
        _, rows, columns = volume.shape
        _, *spacing_mm = volume.spacing_mm
        return cls.between(
            (rows, columns),
            preprocessing.image_size,
            spacing_mm=(spacing_mm[0], spacing_mm[1]),
            interpolation=preprocessing.interpolation,
            output_size=preprocessing.output_size,
            part=seen_part(volume, preprocessing.field_of_view),
            field_mm=preprocessing.field_mm if volume.spacing_known else None,
            source=volume.source,
        )

    @property
    def sees_all(self) -> bool:
        """Whether no pixel of the slice lies outside the field of view."""
        return (len(self.enlarge_rows.matrix), len(self.enlarge_columns.matrix)) == self.shape

    def on_slice(self, part: NDArray[Number]) -> NDArray[Number]:
        """Put what the network says of the part that it sees, (..., rows, columns), onto the slice; else 0."""
        if self.sees_all:
            return part
        whole = np.zeros((*part.shape[:-2], *self.shape), part.dtype)
        whole[(..., *self.seen)] = part
        return whole

    def reduce(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize (..., rows, columns) in [0, 1] to (..., S, S); outside the slice is 0."""
        return self.reduce_columns.along_columns(self.reduce_rows.along_rows(image[(..., *self.seen)]))

    def reduce_labels(self, mask: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
        """Resize (rows, columns) labels to (S, S): each pixel gets the class that covers most of it."""
        present = [int(label) for label in np.unique(mask) if 0 < label < classes]
        # Outside the slice no class covers anything: background, the first, wins there.
        cover = [self.reduce((mask == label).astype(np.float32)) for label in present]
        background = 1 - sum(cover, start=np.zeros((self.size, self.size), np.float32))
        return np.array([0, *present], np.uint8)[np.argmax(np.stack([background, *cover]), axis=0)]

    def enlarge(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resize (K, T, T) to (K, rows, columns), bilinear with pixel centres aligned; 0 outside the field of view."""
        return self.on_slice(self.enlarge_rows.along_rows(self.enlarge_columns.along_columns(logits)))


def network_inputs(
    volume: Scan, preprocessing: Preprocessing, *, intensities: Intensities | None = None, grid: Grid | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield the network's input for every slice of a volume in training orientation.

    Yields:
        (context_slices * channels, S, S) float32 in [-1, 1]. The context is the previous, this and the next slice, or
        slices about `context_mm` apart, each with all its channels. Beyond the first and the last slice these two are
        repeated.
    """
    intensities = intensities or Intensities.of(volume, preprocessing)
    grid = grid or Grid.of(volume, preprocessing)
    last = volume.shape[0] - 1
    ready: dict[int, NDArray[np.float32]] = {}
    reach, step = preprocessing.context_slices // 2, preprocessing.context_step(volume)
    for index in range(last + 1):
        wanted = [min(max(index + offset * step, 0), last) for offset in range(-reach, reach + 1)]
        for neighbour in wanted:
            if neighbour not in ready:
                reduced = grid.reduce(intensities.normalise(volume.intensities(neighbour)))
                ready[neighbour] = (reduced - np.float32(0.5)) / np.float32(0.5)
        yield np.concatenate([ready[neighbour] for neighbour in wanted])
        ready.pop(index - reach * step, None)  # no later slice needs it
