"""Weights that a candidate inherits from the most similar network that has been trained.

Tensors of the same name and rank correspond to each other. The part that both shapes have in common is copied, the
first channels of every axis; the rest keeps its fresh initial values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from embedded_vit.boundary import one_line_errors
from embedded_vit.errors import CheckpointError
from embedded_vit.training.checkpoint import MODEL, load_tensors

__all__ = ["inherit", "likeness", "tensor_shapes"]

Shapes = Mapping[str, Sequence[int]]


def tensor_shapes(run: Path) -> dict[str, tuple[int, ...]]:
    """Read the shape of every tensor of a run's weights, by name.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    told = one_line_errors(run / MODEL, CheckpointError, what="damaged", advice="remove the trial's folder")
    with told, safe_open(run / MODEL, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def likeness(one: Shapes, other: Shapes) -> float:
    """Return the weights that two networks share, over the weights that either has: 1 for networks of equal shapes."""
    alike = [name for name, shape in one.items() if name in other and len(other[name]) == len(shape)]
    common = sum(math.prod(_common(one[name], other[name])) for name in alike)
    both = sum(math.prod(shape) for shapes in (one, other) for shape in shapes.values())
    return common / (both - common)


def inherit(weights: Mapping[str, Tensor], run: Path) -> float:
    """Copy the weights that fit from a run.

    Args:
        weights: The heir's weights, by name; changed in place.
        run: The folder of a trained run.

    Returns:
        The fraction of the heir's weights that was copied.
    """
    copied = 0
    for name, tensor in load_tensors(run / MODEL).items():
        if name in weights and tensor.ndim == weights[name].ndim:
            place = tuple(map(slice, _common(tensor.shape, weights[name].shape)))
            weights[name][place] = tensor[place]
            copied += tensor[place].numel()
    return copied / sum(tensor.numel() for tensor in weights.values())


def _common(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the common part of two tensors of equal rank."""
    return tuple(map(min, one, other))
