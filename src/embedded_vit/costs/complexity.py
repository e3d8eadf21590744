"""What a network costs on paper: parameters and multiply-accumulates, before and after folding.

The naive form is the published one: fc1 of every feed-forward layer evaluated twice, values and reprojections computed
a token, a grey image copied to all channels of the stem. Its count is arithmetic on the network's architecture; the
folded form, which is the one that runs, is counted by PyTorch as it runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from embedded_vit.layers.dual_block import DualBlock
from embedded_vit.layers.feed_forward import MixFeedForward
from embedded_vit.layers.patches import PatchEmbedding
from embedded_vit.models.embedded_vit import HEADS, DecoderStage
from embedded_vit.models.published_form import why_unpublished
from embedded_vit.models.registry import NETWORKS, NetworkConfig, build_network

__all__ = ["Complexity", "complexity", "naive_macs", "published_parameters"]

# What published checkpoints of two-stage networks carry and never use: the width of a third encoder stage, and what the
# decoder at the coarsest level would take from below.
DEAD_WIDTHS = {224: (512, 256), 128: (256, 160), 64: (128, 80)}


@dataclass(frozen=True)
class Complexity:
    """Costs of one image, batch 1.

    Attributes:
        parameters: Of the network as we have it.
        published_parameters: Of the authors' checkpoint, dead weights included; None for other networks.
        macs: Multiply-accumulates of the form that runs.
        naive_macs: Of the published form; None for networks that have none.
    """

    parameters: int
    published_parameters: int | None
    macs: int
    naive_macs: int | None


def complexity(config: NetworkConfig, *, input_channels: int = 1) -> Complexity:
    """Count parameters and multiply-accumulates of a network.

    Args:
        config: The network.
        input_channels: Channels of the image; 1 is a grey image, which stands for copies of itself.

    Source: multiply-accumulates are half of what torch's FlopCounterMode counts: convolutions and matrix products.
    """
    with FakeTensorMode(), torch.no_grad():  # shapes without numbers: nothing is computed
        network = build_network(config).eval()
        image = torch.zeros(1, input_channels, config.image_size, config.image_size)
        with FlopCounterMode(display=False) as counter:
            network(image)
    return Complexity(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        published_parameters=published_parameters(config),
        macs=counter.get_total_flops() // 2,
        naive_macs=None if why_unpublished(config) else naive_macs(config),
    )


def naive_macs(config: NetworkConfig) -> int:
    """Multiply-accumulates of the published form of a network, batch 1."""
    widths, ratio = config.widths, config.hidden_ratio
    tokens = [(config.image_size // 2 ** (level + 2)) ** 2 for level in range(len(widths))]
    total = tokens[0] * widths[0] * config.in_channels * 7 * 7
    for level, (count, width) in enumerate(zip(tokens, widths, strict=True)):
        total += config.depth * _dual_block(count, width, ratio * width, config.mixing)
        if level > 0:
            total += count * width * widths[level - 1] * 3 * 3
    total += tokens[-1] * widths[-1] * 2 * widths[-1]  # the coarsest patch expanding
    for level, (count, width) in enumerate(zip(tokens[:-1], widths[:-1], strict=True)):
        total += count * width * (widths[level + 1] // 2)  # linear_below
        total += count * width * width * (1 + 1 + 2)  # context, attended values, reprojection to 2 C
        total += _feed_forward(count, 2 * width, ratio * width, config.mixing)
        total += count * 2 * width * width  # linear_joined
        total += 2 * _dual_block(count, width, ratio * width, config.mixing)
        total += count * width * (16 * width if level == 0 else 2 * width)  # patch expanding
    return total + config.image_size**2 * widths[0] * config.classes


def _dual_block(tokens: int, width: int, hidden: int, mixing: str) -> int:
    efficient_attention = 6 * tokens * width * width
    channel_attention = 4 * tokens * width * width + 2 * tokens * width * (width // HEADS)
    return efficient_attention + channel_attention + 2 * _feed_forward(tokens, width, hidden, mixing)


def _feed_forward(tokens: int, width: int, hidden: int, mixing: str) -> int:
    fc1_twice_and_fc2 = 3 * tokens * width * hidden
    return fc1_twice_and_fc2 + tokens * hidden * 9 * (hidden if mixing == "dense" else 1)


def published_parameters(config: NetworkConfig) -> int | None:
    """Parameters of the authors' checkpoint of a preset, those that its forward pass never uses included."""
    preset = NETWORKS.get(config.name)
    if preset is None or config.kept_channels or any(getattr(config, key) != value for key, value in preset.items()):
        return None
    coarsest, mixing, ratio = config.widths[-1], config.mixing, config.hidden_ratio
    with torch.device("meta"):
        network = build_network(config)
        two_stages = len(config.widths) == 2
        width, below = DEAD_WIDTHS[config.image_size] if two_stages else (0, coarsest)
        decoder = DecoderStage(below, coarsest, ratio * coarsest, mixing, scale=1)
        everything = nn.ModuleList([network, decoder])
        if two_stages:
            everything.extend(DualBlock(width, ratio * width, mixing) for _ in range(config.depth))
            everything.extend([PatchEmbedding(coarsest, width, kernel_size=3, stride=2), nn.LayerNorm(width)])
    total = sum(parameter.numel() for parameter in everything.parameters())
    # Two norms of every feed-forward layer's three are dead: weight and bias each, as wide as the hidden layer.
    hidden = sum(module.fc1.out_features for module in everything.modules() if isinstance(module, MixFeedForward))
    return total + 4 * hidden
