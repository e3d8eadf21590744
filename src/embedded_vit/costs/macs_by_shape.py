"""Multiply-accumulates from the shapes of the weights alone.

`complexity` lets PyTorch count them, in half a second a network; choosing channels asks for thousands of counts. A test
holds the two together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

__all__ = ["Shapes", "macs_by_shape"]

Shapes = Mapping[str, Sequence[int]]

ONCE_A_TOKEN = re.compile(r"(fc1|fc2|convolution|linear_below|linear_joined|expand\.expand)\.weight$")

FIRST_LAYERS = ("down.0.convolution1.weight", "encoder.0.embedding.projection.weight")
CONVOLUTIONS = re.compile(r"(down|up)\.\d+\..*(convolution[12]|upsampling)\.weight$")


def macs_by_shape(shapes: Shapes, image_size: int, *, input_channels: int = 1) -> int:
    """Count the multiply-accumulates of one image.

    Args:
        shapes: Name -> shape of every parameter of one of this package's networks, more if need be.
        image_size: S.
        input_channels: Channels of the image; 1 is a grey image, which stands for copies of itself.
    """
    stages = 1 + max(int(match[1]) for name in shapes if (match := re.match(r"encoder\.(\d+)\.", name)))
    total = image_size**2 * math.prod(shapes["head.weight"])
    first = next(name for name in FIRST_LAYERS if name in shapes)
    shapes = {**shapes, first: (shapes[first][0], input_channels, *shapes[first][2:])}
    for name, shape in shapes.items():
        tokens = (image_size // 2 ** (_level(name, stages) + 2)) ** 2
        layer = name.rpartition(".")[0].rpartition(".")[0]
        if ONCE_A_TOKEN.search(name):
            total += tokens * math.prod(shape)
        elif CONVOLUTIONS.match(name):
            total += _pixels(name, image_size) * math.prod(shape)
        elif name.endswith("embedding.projection.weight"):
            total += tokens * math.prod(shape)
        elif name.endswith(".keys.weight"):
            total += _efficient_attention(layer, shapes, tokens)
        elif name.endswith(".qkv.weight"):
            total += _channel_attention(layer, shapes, tokens)
        elif name.endswith("cross_attention.reprojection.weight"):
            total += _cross_attention(shape[1], tokens)
    return total


def _pixels(name: str, image_size: int) -> int:
    """How many pixels a kernel meets, at full resolution (down.0, up.1) or at half (down.1, up.0)."""
    size = image_size if name.startswith(("down.0", "up.1")) else image_size // 2
    return (size // 2) ** 2 if "upsampling" in name else size**2  # one of the coarser pixels makes four


def _level(name: str, stages: int) -> int:
    """The stage, 0 the finest, whose tokens a parameter meets."""
    part, index = (*name.split("."), "")[:2]
    if part == "encoder":
        return int(index)
    if part == "decoder":
        return stages - 2 - int(index)
    return stages - 1  # the coarsest patch expanding


def _efficient_attention(layer: str, shapes: Shapes, tokens: int) -> int:
    keys, channels = shapes[f"{layer}.keys.weight"]
    values = shapes[f"{layer}.values.weight"][0]
    keys_and_queries = 2 * tokens * channels * keys
    if tokens > channels:
        return keys_and_queries + 2 * tokens * keys * channels + 2 * keys * channels * values
    return keys_and_queries + 2 * tokens * channels * values + 2 * tokens * keys * values


def _channel_attention(layer: str, shapes: Shapes, tokens: int) -> int:
    channels, inner = shapes[f"{layer}.projection.weight"]
    head = inner // shapes[f"{layer}.temperature"][0]
    if tokens > 1.45 * channels:
        return 2 * tokens * channels**2 + 3 * inner * channels**2 + 2 * inner * head * channels
    return 4 * tokens * channels * inner + 2 * tokens * inner * head


def _cross_attention(channels: int, tokens: int) -> int:
    """Without its feed-forward layer."""
    if tokens > channels:
        return 3 * tokens * channels**2 + 2 * channels**3
    return 4 * tokens * channels**2
