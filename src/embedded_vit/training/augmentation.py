"""Augmentation: one distortion drawn a slice, all distortions of a batch applied at once.

A distortion is a handful of numbers drawn from the slice's own random generator, so that a batch split over several
processes, or a resumed training, sees the very same images. It may name another slice, of which a rectangle is put over
the first one. Intensities are taken in [0, 1], geometry in fractions of the field of view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from embedded_vit.training.settings import TrainingConfig

__all__ = ["Distortion", "Patch", "augment", "distort", "draw"]

Reader = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
CONTROL_POINTS = 4  # a side, of the displacement field
CURVE_TERMS = 3
BIAS_TERMS = 5


def _zeros(*shape: int) -> NDArray[np.float64]:
    return np.zeros(shape)


@dataclass
class Distortion:
    """What happens to one slice; the default is nothing.

    Attributes:
        matrix: (2, 3), output (column, row, 1) in [-1, 1] -> input (column, row).
        displacement: (2, 4, 4) in the same unit, of control points, smooth between them.
        curve: (3,) amplitudes of a monotone intensity curve; their absolute values sum to less than one.
        gamma, gain, offset: x ** gamma, then (x - 1/2) * gain + 1/2 + offset.
        bias: (5,) coefficients of x, y, xy, x² and y² in the logarithm of a smooth field that multiplies the image.
        blur_pixels: Standard deviation of a Gaussian.
        noise_before_blur, noise: Standard deviations of white noise.
        noise_seed: Of that noise.
        patch: What is put over the slice when all else is done.
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


@dataclass(frozen=True, eq=False)
class Patch:
    """A rectangle of another slice, put over the same place of this one, image and labels alike.

    Attributes:
        index: The other slice.
        distortion: What happens to it before.
        rows, columns: From and to, as parts of the side.

    Source: CutMix, 1905.04899.
    """

    index: int
    distortion: Distortion
    rows: tuple[float, float]
    columns: tuple[float, float]


def draw(
    training: TrainingConfig, random: np.random.Generator, *, mirror: bool, others: Sequence[int] | NDArray[np.int64]
) -> Distortion:
    """Draw one slice's distortion.

    Args:
        training: Its recipe `paper` mirrors as published, whatever the label set says; `modern` only where `mirror`
            allows it. Its `cutmix` says how often there is a patch.
        random: The slice's own generator.
        mirror: Whether the label set says that mirrored images are as plausible.
        others: Slices that a patch may be taken from.
    """

    def draw_alone() -> Distortion:
        return _draw_paper(random) if training.recipe == "paper" else _draw_modern(random, mirror)

    distortion = draw_alone()
    if training.cutmix and random.random() < training.cutmix:
        rows, columns = _draw_rectangle(random)
        distortion.patch = Patch(int(random.choice(others)), draw_alone(), rows, columns)
    return distortion


def _draw_rectangle(random: np.random.Generator) -> tuple[tuple[float, float], tuple[float, float]]:
    """A tenth to half of the slice, anywhere in it, up to twice as high as wide or the other way round."""
    area, aspect = random.uniform(0.1, 0.5), math.exp(random.uniform(-0.7, 0.7))
    sides = [min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))]
    row, column = (random.uniform(0, 1 - side) for side in sides)
    return (row, row + sides[0]), (column, column + sides[1])


def _draw_paper(random: np.random.Generator) -> Distortion:
    """None to four of ten, in random order. Source: Embedded-ViT; DAE-Former's published augmentation."""
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


def _draw_modern(random: np.random.Generator, mirror: bool) -> Distortion:
    """Gentle geometry, and intensities that imitate other scanners and contrast phases."""
    zoom = np.exp(random.uniform(math.log(0.75), math.log(1.35)))
    stretch = np.exp(random.uniform(-0.1, 0.1))
    linear = _rotation(random.uniform(-20, 20)) @ np.diag([stretch / zoom, 1 / (stretch * zoom)])
    if mirror and random.random() < 0.5:
        linear = linear @ np.diag([1.0, -1.0])  # rows run from the patient's right to left
    distortion = Distortion(
        matrix=np.column_stack([linear, 2 * random.uniform(-0.07, 0.07, 2)]), noise_seed=int(random.integers(2**62))
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


def augment(read: Reader, indices: NDArray[np.int64], distortions: Sequence[Distortion]) -> tuple[Tensor, Tensor]:
    """Read a batch, distort it, and put patches over it.

    Args:
        read: Slices' indices (B,) -> images (B, C, S, S) and labels (B, S, S), as `distort` takes them.
        indices: (B,) slices.
        distortions: B of them.

    Returns:
        Images and labels as `distort` returns them.
    """
    patches = {place: distortion.patch for place, distortion in enumerate(distortions) if distortion.patch}
    others = np.array([patch.index for patch in patches.values()], indices.dtype)
    everything = [*distortions, *(patch.distortion for patch in patches.values())]
    images, labels = distort(*read(np.concatenate([indices, others])), everything)
    count = len(indices)
    for source, (place, patch) in enumerate(patches.items(), start=count):
        rows, columns = (_pixels(part, images.shape[-1]) for part in (patch.rows, patch.columns))
        images[place, :, rows, columns] = images[source, :, rows, columns]
        labels[place, rows, columns] = labels[source, rows, columns]
    return images[:count], labels[:count]


def _pixels(part: tuple[float, float], size: int) -> slice:
    return slice(round(part[0] * size), round(part[1] * size))


def distort(images: Tensor, labels: Tensor, distortions: Sequence[Distortion]) -> tuple[Tensor, Tensor]:
    """Apply a distortion a slice, patches left out.

    Args:
        images: (B, C, S, S) float32 in [-1, 1].
        labels: (B, S, S) int64.
        distortions: B of them.

    Returns:
        Images and labels of the same shape, dtype and range; what comes from outside is -1 and background.
    """
    size = images.shape[-1]
    grid = _sampling_grid(distortions, size, images.device)
    images = functional.grid_sample(images / 2 + 0.5, grid, mode="bilinear", align_corners=False)  # in [0, 1], air 0
    labels_float = labels[:, None].to(torch.float32)
    labels = functional.grid_sample(labels_float, grid, mode="nearest", align_corners=False)[:, 0].to(torch.int64)
    images = _change_intensities(images, distortions)
    return images.clamp(0, 1) * 2 - 1, labels


def _stack(distortions: Sequence[Distortion], name: str) -> NDArray[np.float32]:
    return np.array([getattr(distortion, name) for distortion in distortions], np.float32)


def _stack_changed(
    distortions: Sequence[Distortion], name: str, device: torch.device, *, neutral: float = 0.0
) -> tuple[list[int], Tensor]:
    """The distortions whose value is not neutral, found before a GPU would have to be waited for, and their values."""
    values = _stack(distortions, name)
    changed = np.flatnonzero((values != neutral).reshape(len(values), -1).any(axis=1))
    return changed.tolist(), torch.from_numpy(values[changed]).to(device)


def _sampling_grid(distortions: Sequence[Distortion], size: int, device: torch.device) -> Tensor:
    """(B, S, S, 2): where each output pixel is taken from, (column, row) in [-1, 1].

    Affine maps and smooth displacements are both sums of products of a function of the row and one of the column.
    """
    matrix, displacement = (torch.from_numpy(_stack(distortions, name)) for name in ("matrix", "displacement"))
    weights = torch.zeros(len(distortions), 2, 2 + CONTROL_POINTS, 2 + CONTROL_POINTS)
    weights[:, :, 0, 0] = matrix[:, :, 2]
    weights[:, :, 0, 1] = matrix[:, :, 0]
    weights[:, :, 1, 0] = matrix[:, :, 1]
    weights[:, :, 2:, 2:] = displacement
    functions = _functions_of_place(size).to(device)
    grid = functions @ weights.to(device) @ functions.mT  # (B, 2, S, S)
    return grid.movedim(1, -1)


@cache
def _functions_of_place(size: int) -> Tensor:
    """(S, 6): for every pixel of a side 1, its centre in [-1, 1], and the bicubic weights of the control points."""
    centres = (torch.arange(size) + 0.5) * 2 / size - 1
    points = torch.eye(CONTROL_POINTS)[None]  # (1, point, place)
    bicubic = functional.interpolate(points[:, None], (CONTROL_POINTS, size), mode="bicubic", align_corners=True)
    return torch.cat([torch.ones(size, 1), centres[:, None], bicubic[0, 0].mT], dim=1)


def _change_intensities(images: Tensor, distortions: Sequence[Distortion]) -> Tensor:
    device, size = images.device, images.shape[-1]

    def each(name: str) -> Tensor:
        return torch.from_numpy(_stack(distortions, name)).to(device)[:, None, None, None]  # (B, 1, 1, 1)

    images = _add_noise(images, distortions, "noise_before_blur")
    images = _blur(images, distortions)
    # x + sum a sin(k pi x) / (k pi) rises everywhere because its slope is 1 + sum a cos(k pi x) > 0.
    changed, curve = _stack_changed(distortions, "curve", device)
    if changed:
        original = images[changed]
        curved = original.clone()
        for term in range(1, CURVE_TERMS + 1):
            amplitude = curve[:, term - 1, None, None, None] / (term * math.pi)
            curved += amplitude * torch.sin(term * math.pi * original)
        images[changed] = curved
    changed, gamma = _stack_changed(distortions, "gamma", device, neutral=1.0)
    if changed:
        images[changed] = images[changed].clamp(min=0) ** gamma[:, None, None, None]
    images = (images - 0.5) * each("gain") + (0.5 + each("offset"))
    changed, bias = _stack_changed(distortions, "bias", device)
    if changed:
        axis = torch.linspace(-1, 1, size, device=device)
        x, y = axis[None, :].expand(size, size), axis[:, None].expand(size, size)
        terms = torch.stack([x, y, x * y, x * x, y * y])  # (5, S, S)
        images[changed] *= torch.einsum("bt,tyx->byx", bias, terms).exp()[:, None]
    return _add_noise(images, distortions, "noise")


def _add_noise(images: Tensor, distortions: Sequence[Distortion], name: str) -> Tensor:
    for image, distortion in zip(images, distortions, strict=True):
        if sigma := getattr(distortion, name):
            generator = torch.Generator(image.device).manual_seed(distortion.noise_seed)
            image += sigma * torch.randn(image.shape, generator=generator, device=image.device)
    return images


def _blur(images: Tensor, distortions: Sequence[Distortion], radius: int = 3) -> Tensor:
    changed, sigma = _stack_changed(distortions, "blur_pixels", images.device)
    if not changed:
        return images
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)  # (changed, 2 radius + 1)
    channels = images.shape[1]
    kernel = kernel.repeat_interleave(channels, dim=0)[:, None]  # (changed * C, 1, 2 radius + 1)
    flat = images[changed].flatten(0, 1)[None]  # (1, changed * C, S, S): every image its own group
    flat = functional.pad(flat, [radius] * 4, mode="replicate")
    flat = functional.conv2d(flat, kernel[..., None], groups=kernel.shape[0])
    flat = functional.conv2d(flat, kernel[:, :, None], groups=kernel.shape[0])
    images[changed] = flat[0].unflatten(0, (len(changed), channels))
    return images
