"""Augmentation: the distortions of a batch, applied to its images and labels together.

The functions of tensors below define what each number of a distortion does. `distort` calls them only for the slices
that need them; `tensor_augmentation.py` calls them for every slice, as a CUDA graph must.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from embedded_vit.training.distortion import CONTROL_POINTS, CURVE_TERMS, Distortion

__all__ = [
    "augment",
    "bias_field",
    "blurred",
    "curved",
    "distort",
    "functions_of_place",
    "noise_of",
    "power_of",
    "sampling_grid",
    "stretched",
]

Reader = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
BLUR_RADIUS = 3  # pixels


def augment(
    read: Reader, indices: NDArray[np.int64], distortions: Sequence[Distortion], *, context_slices: int = 1
) -> tuple[Tensor, Tensor]:
    """Read a batch, distort it, and put patches over it.

    Args:
        read: A function of slice indices (B,) -> images (B, C, S, S) and labels (B, S, S), as `distort` takes them.
        indices: (B,) slices.
        distortions: B of them.
        context_slices: 1 or 3, the slices in the channels of an image.

    Returns:
        Images and labels as `distort` returns them.
    """
    patches = {place: distortion.patch for place, distortion in enumerate(distortions) if distortion.patch}
    others = np.array([patch.index for patch in patches.values()], indices.dtype)
    everything = [*distortions, *(patch.distortion for patch in patches.values())]
    images, labels = distort(*read(np.concatenate([indices, others])), everything, context_slices=context_slices)
    count = len(indices)
    for source, (place, patch) in enumerate(patches.items(), start=count):
        rows, columns = (_pixels(part, images.shape[-1]) for part in (patch.rows, patch.columns))
        images[place, :, rows, columns] = images[source, :, rows, columns]
        labels[place, rows, columns] = labels[source, rows, columns]
    return images[:count], labels[:count]


def _pixels(part: tuple[float, float], size: int) -> slice:
    return slice(round(part[0] * size), round(part[1] * size))


def distort(
    images: Tensor, labels: Tensor, distortions: Sequence[Distortion], *, context_slices: int = 1
) -> tuple[Tensor, Tensor]:
    """Apply one distortion to each slice, patches left out.

    Args:
        images: (B, C, S, S) float32 in [-1, 1].
        labels: (B, S, S) int64.
        distortions: B of them.
        context_slices: As `augment` takes them.

    Returns:
        Images and labels of the same shape, dtype and range; pixels from outside the image are -1 and background.
    """
    device, size = images.device, images.shape[-1]
    matrices, displacements = (torch.from_numpy(_stack(distortions, name)) for name in ("matrix", "displacement"))
    grid = sampling_grid(matrices.to(device), displacements.to(device), _cached_functions(size, device))
    images, labels = sampled(images, labels, grid)
    for place, distortion in enumerate(distortions):
        if distortion.reversed_context:
            images[place] = images[place].unflatten(0, (context_slices, -1)).flip(0).flatten(0, 1)
        if distortion.numbers is not None:
            known = len(distortion.numbers)  # numbers above stand for pixels that nobody labelled
            numbers = torch.cat([torch.from_numpy(distortion.numbers).long(), torch.arange(known, 256)])
            labels[place] = numbers.to(device)[labels[place]]
    images = _change_intensities(images, distortions)
    return images.clamp(0, 1) * 2 - 1, labels


def sampled(images: Tensor, labels: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Take every pixel from where the grid says.

    Args:
        images: (B, C, S, S) float32 in [-1, 1].
        labels: (B, S, S), any dtype.
        grid: (B, S, S, 2) as `sampling_grid` gives it.

    Returns:
        Images in [0, 1], where air is 0, and labels as int64.
    """
    images = functional.grid_sample(images / 2 + 0.5, grid, mode="bilinear", align_corners=False)
    labels_float = labels[:, None].to(torch.float32)
    labels = functional.grid_sample(labels_float, grid, mode="nearest", align_corners=False)[:, 0].to(torch.int64)
    return images, labels


def sampling_grid(matrices: Tensor, displacements: Tensor, functions: Tensor) -> Tensor:
    """Return where each output pixel is taken from: (B, S, S, 2), (column, row) in [-1, 1].

    Affine maps and smooth displacements are both sums of products of a function of the row and one of the column.

    Args:
        matrices: (B, 2, 3), output (column, row, 1) -> input (column, row).
        displacements: (B, 2, 4, 4), those of the control points.
        functions: (S, 6) as `functions_of_place` gives them.
    """
    weights = torch.zeros(len(matrices), 2, 2 + CONTROL_POINTS, 2 + CONTROL_POINTS, device=matrices.device)
    weights[:, :, 0, 0] = matrices[:, :, 2]
    weights[:, :, 0, 1] = matrices[:, :, 0]
    weights[:, :, 1, 0] = matrices[:, :, 1]
    weights[:, :, 2:, 2:] = displacements
    grid = functions @ weights @ functions.mT  # (B, 2, S, S)
    return grid.movedim(1, -1)


def functions_of_place(size: int, device: torch.device) -> Tensor:
    """Return (S, 6) for the pixels of a side: 1, the centre in [-1, 1], and the bicubic weights of control points."""
    centres = (torch.arange(size) + 0.5) * 2 / size - 1
    points = torch.eye(CONTROL_POINTS)[None]  # (1, point, place)
    bicubic = functional.interpolate(points[:, None], (CONTROL_POINTS, size), mode="bicubic", align_corners=True)
    return torch.cat([torch.ones(size, 1), centres[:, None], bicubic[0, 0].mT], dim=1).to(device)


_cached_functions = cache(functions_of_place)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur images (B, C, S, S) with Gaussians of standard deviation sigma (B,) in pixels; 0 changes nothing."""
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None].clamp(min=0.05)) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)  # (B, 7)
    count, channels = images.shape[:2]
    kernel = kernel.repeat_interleave(channels, dim=0)[:, None]  # (B * C, 1, 7)
    flat = images.flatten(0, 1)[None]  # (1, B * C, S, S): each in its own group
    flat = functional.pad(flat, [BLUR_RADIUS] * 4, mode="replicate")
    flat = functional.conv2d(flat, kernel[..., None], groups=kernel.shape[0])
    flat = functional.conv2d(flat, kernel[:, :, None], groups=kernel.shape[0])
    return flat[0].unflatten(0, (count, channels))


def curved(images: Tensor, curve: Tensor) -> Tensor:
    """Bend intensities monotonously: x + sum a sin(k pi x) / (k pi) has the slope 1 + sum a cos(k pi x) > 0.

    Args:
        images: (B, C, S, S) in [0, 1].
        curve: (B, 3) amplitudes a, whose absolute values sum to less than one.
    """
    bent = images.clone()
    for term in range(1, CURVE_TERMS + 1):
        amplitude = curve[:, term - 1, None, None, None] / (term * math.pi)
        bent += amplitude * torch.sin(term * math.pi * images)
    return bent


def power_of(images: Tensor, gamma: Tensor) -> Tensor:
    """Raise intensities (B, C, S, S) to the power gamma (B,)."""
    return images.clamp(min=0) ** gamma[:, None, None, None]


def stretched(images: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """Change contrast and brightness: (x - 1/2) gain + 1/2 + offset, for images (B, C, S, S), gain and offset (B,)."""
    return (images - 0.5) * gain[:, None, None, None] + (0.5 + offset[:, None, None, None])


def bias_field(bias: Tensor, size: int) -> Tensor:
    """Return the smooth fields that multiply images: coefficients (B, 5) -> (B, 1, S, S)."""
    axis = torch.linspace(-1, 1, size, device=bias.device)
    x, y = axis[None, :].expand(size, size), axis[:, None].expand(size, size)
    terms = torch.stack([x, y, x * y, x * x, y * y])  # (5, S, S)
    return torch.einsum("bt,tyx->byx", bias, terms).exp()[:, None]


def noise_of(distortion: Distortion, shape: Sequence[int], device: torch.device) -> Tensor:
    """Draw a slice's white noise of standard deviation 1 from the distortion's own seed, in the slice's shape."""
    generator = torch.Generator(device).manual_seed(distortion.noise_seed)
    return torch.randn(*shape, generator=generator, device=device)


def _stack(distortions: Sequence[Distortion], name: str) -> NDArray[np.float32]:
    return np.array([getattr(distortion, name) for distortion in distortions], np.float32)


def _stack_changed(
    distortions: Sequence[Distortion], name: str, device: torch.device, *, neutral: float = 0.0
) -> tuple[list[int], Tensor]:
    """Return the distortions whose value is not neutral, and the values; found on the CPU, without wait for a GPU."""
    values = _stack(distortions, name)
    changed = np.flatnonzero((values != neutral).reshape(len(values), -1).any(axis=1))
    return changed.tolist(), torch.from_numpy(values[changed]).to(device)


def _change_intensities(images: Tensor, distortions: Sequence[Distortion]) -> Tensor:
    """Change the intensities of images (B, C, S, S) in [0, 1]."""
    device = images.device
    images = _add_noise(images, distortions, "noise_before_blur")
    changed, sigma = _stack_changed(distortions, "blur_pixels", device)
    if changed:
        images[changed] = blurred(images[changed], sigma)
    changed, curve = _stack_changed(distortions, "curve", device)
    if changed:
        images[changed] = curved(images[changed], curve)
    changed, gamma = _stack_changed(distortions, "gamma", device, neutral=1.0)
    if changed:
        images[changed] = power_of(images[changed], gamma)
    images = stretched(images, *(torch.from_numpy(_stack(distortions, name)).to(device) for name in ("gain", "offset")))
    changed, bias = _stack_changed(distortions, "bias", device)
    if changed:
        images[changed] *= bias_field(bias, images.shape[-1])
    return _add_noise(images, distortions, "noise")


def _add_noise(images: Tensor, distortions: Sequence[Distortion], name: str) -> Tensor:
    for image, distortion in zip(images, distortions, strict=True):
        if sigma := getattr(distortion, name):
            image += sigma * noise_of(distortion, image.shape, image.device)
    return images
