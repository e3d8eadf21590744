"""Distortions of training slices, and how they are drawn.

A distortion is a few numbers from the slice's own random generator. So a batch that is divided over several processes,
or drawn again after a resume, has the same images. Intensities are in [0, 1], geometry in fractions
of the field of view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedded_vit.slicing import array_axis
from embedded_vit.training.settings import RunConfig, TrainingConfig

__all__ = ["BIAS_TERMS", "CONTROL_POINTS", "CURVE_TERMS", "Distortion", "Mirroring", "Patch", "draw"]

CONTROL_POINTS = 4  # a side, of the displacement field
CURVE_TERMS = 3
BIAS_TERMS = 5


def _zeros(*shape: int) -> NDArray[np.float64]:
    return np.zeros(shape)


@dataclass
class Distortion:
    """The distortion of one slice; by default nothing is changed.

    Attributes:
        matrix: (2, 3), output (column, row, 1) in [-1, 1] -> input (column, row).
        displacement: (2, 4, 4) in the same unit, for the control points; smooth between them.
        curve: (3,) amplitudes of a monotone intensity curve; their absolute values sum to less than one.
        gamma, gain, offset: x ** gamma, then (x - 1/2) * gain + 1/2 + offset.
        bias: (5,) coefficients of x, y, xy, x² and y² in the logarithm of a smooth field that multiplies the image.
        blur_pixels: Standard deviation of a Gaussian.
        noise_before_blur, noise: Standard deviations of white noise.
        noise_seed: The seed of that noise.
        patch: A rectangle of another slice, put over this one at the end.
        numbers: (K,) uint8, the new number of each class, where left and right change places; None to keep them.
        reversed_context: Whether the slices above and below change places.
    """

    matrix: NDArray[np.float64] = field(default_factory=lambda: np.eye(2, 3))
    displacement: NDArray[np.float64] = field(default_factory=lambda: _zeros(2, CONTROL_POINTS, CONTROL_POINTS))
    curve: NDArray[np.float64] = field(default_factory=lambda: _zeros(CURVE_TERMS))
    gamma: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    bias: NDArray[np.float64] = field(default_factory=lambda: _zeros(BIAS_TERMS))
    blur_pixels: float = 0.0
    noise_before_blur: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    patch: Patch | None = None
    numbers: NDArray[np.uint8] | None = None
    reversed_context: bool = False


@dataclass(frozen=True)
class Mirroring:
    """How a slice becomes that of a patient who is mirrored left to right.

    Attributes:
        along_rows: Whether left and right lie along the rows of a slice; else, in sagittal slices, across them.
        numbers: New number of each class, background first; empty where all stay.
    """

    along_rows: bool = True
    numbers: tuple[int, ...] = ()

    @classmethod
    def of(cls, config: RunConfig) -> Mirroring | None:
        """Return how slices of a run are mirrored; None where they must not be."""
        if not config.labels.mirror:
            return None
        numbers = config.labels.mirrored_numbers
        axis, _ = array_axis(config.preprocessing.orientation, "left")
        return cls(along_rows=axis == 1, numbers=() if numbers == tuple(range(len(numbers))) else numbers)


@dataclass(frozen=True, eq=False)
class Patch:
    """A rectangle of another slice that covers the same place of this one, in image and labels.

    Attributes:
        index: The other slice.
        distortion: The distortion of that slice, applied before.
        rows, columns: First and last, as fractions of the side.

    Source: CutMix, 1905.04899.
    """

    index: int
    distortion: Distortion
    rows: tuple[float, float]
    columns: tuple[float, float]


def draw(
    training: TrainingConfig,
    random: np.random.Generator,
    *,
    mirror: Mirroring | None,
    others: Sequence[int] | NDArray[np.int64],
) -> Distortion:
    """Draw one slice's distortion.

    Args:
        training: The recipe `paper` mirrors as published, whatever the label set says; `modern` only if `mirror`
            allows it. `cutmix` is the fraction of slices with a patch.
        random: The slice's own generator.
        mirror: How slices are mirrored; None where the label set does not allow it.
        others: The slices that a patch may be taken from.
    """

    def draw_alone() -> Distortion:
        return _draw_paper(random) if training.recipe == "paper" else _draw_modern(random, mirror)

    distortion = draw_alone()
    if training.cutmix and random.random() < training.cutmix:
        rows, columns = _draw_rectangle(random)
        distortion.patch = Patch(int(random.choice(others)), draw_alone(), rows, columns)
    return distortion


def _draw_rectangle(random: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
    """Draw a rectangle of a tenth to half of the slice, with sides in a ratio of at most 2."""
    area, aspect = random.uniform(0.1, 0.5), math.exp(random.uniform(-0.7, 0.7))
    sides = [min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))]
    row, column = (random.uniform(0, 1 - side) for side in sides)
    return (row, row + sides[0]), (column, column + sides[1])


def _draw_paper(random: np.random.Generator) -> Distortion:
    """Draw zero to four of ten distortions. Source: Embedded-ViT; DAE-Former's published augmentation."""
    distortion = Distortion(noise_seed=int(random.integers(2**62)))
    linear, shift, blurred = np.eye(2), np.zeros(2), False
    for choice in random.permutation(10)[: random.integers(0, 5)]:
        step, offset = np.eye(2), np.zeros(2)
        if choice == 0 and random.random() < 0.5:
            step = np.diag([1.0, -1.0])  # up-down
        elif choice == 1 and random.random() < 0.5:
            step = np.diag([-1.0, 1.0])  # left-right
        elif choice == 2:
            if blurred:
                distortion.noise = 0.005  # the published 1.275 of 255
            else:
                distortion.noise_before_blur = 0.005
        elif choice == 3:
            distortion.blur_pixels, blurred = 1.0, True
        elif choice == 4:
            distortion.gain = random.uniform(0.5, 1.5)
        elif choice == 5:
            step = np.diag(1 / random.uniform(0.5, 2.0, 2))
        elif choice == 6:
            step = _rotation(random.uniform(-40, 40))
        elif choice == 7:
            step = np.array([[1, math.tan(math.radians(random.uniform(-16, 16)))], [0, 1]])
        elif choice == 8:
            scale = 2 * random.uniform(0.008, 0.03)
            distortion.displacement = random.normal(0, scale, (2, CONTROL_POINTS, CONTROL_POINTS))
        elif choice == 9:
            offset = 2 * random.uniform(-0.2, 0.2, 2)
        linear, shift = linear @ step, linear @ offset + shift
    distortion.matrix = np.column_stack([linear, shift])
    return distortion


def _draw_modern(random: np.random.Generator, mirror: Mirroring | None) -> Distortion:
    """Draw gentle geometry, and intensities that imitate other scanners and contrast phases."""
    zoom = np.exp(random.uniform(math.log(0.75), math.log(1.35)))
    stretch = np.exp(random.uniform(-0.1, 0.1))
    linear = _rotation(random.uniform(-20, 20)) @ np.diag([stretch / zoom, 1 / (stretch * zoom)])
    mirrored = mirror if mirror and random.random() < 0.5 else None
    if mirrored and mirrored.along_rows:
        linear = linear @ np.diag([1.0, -1.0])
    distortion = Distortion(
        matrix=np.column_stack([linear, 2 * random.uniform(-0.07, 0.07, 2)]),
        noise_seed=int(random.integers(2**62)),
        numbers=np.array(mirrored.numbers, np.uint8) if mirrored and mirrored.numbers else None,
        reversed_context=mirrored is not None and not mirrored.along_rows,
    )
    if random.random() < 0.3:
        distortion.displacement = random.normal(0, 0.03, (2, CONTROL_POINTS, CONTROL_POINTS))
    if random.random() < 0.7:
        amplitudes = random.uniform(-1, 1, CURVE_TERMS) / np.arange(1, CURVE_TERMS + 1)
        distortion.curve = amplitudes * random.uniform(0, 0.8) / np.abs(amplitudes).sum()
    if random.random() < 0.5:
        distortion.gamma = float(np.exp(random.uniform(-0.35, 0.35)))
    if random.random() < 0.7:
        distortion.gain, distortion.offset = random.uniform(0.75, 1.3), random.uniform(-0.1, 0.1)
    if random.random() < 0.2:
        distortion.bias = random.uniform(-0.15, 0.15, BIAS_TERMS)
    if random.random() < 0.2:
        distortion.blur_pixels = random.uniform(0.3, 1.0)
    if random.random() < 0.3:
        distortion.noise = random.uniform(0, 0.06)
    return distortion


def _rotation(degrees: float) -> NDArray[np.float64]:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])
